// Serve the services of the app beside this file: node typescript_serve.mjs PORT

import * as restate from "@restatedev/restate-sdk";
import * as app from "./typescript_app.ts";

restate.serve({ services: Object.values(app), port: Number(process.argv[2]) });
