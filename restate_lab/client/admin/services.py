"""Services and handlers: list, read, configure."""

from __future__ import annotations

from typing import Any

from restate_lab.client.admin.operations import Operations, drop_none
from restate_lab.client.arguments import check_duration, check_flag, check_name, path_segment
from restate_lab.client.models import Handler, Service
from restate_lab.client.models.base import ModelList
from restate_lab.client.responses import suggesting
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError


class Services(Operations):
    """Operations on services and handlers. Names are case-sensitive."""

    def list_services(self) -> ModelList[Service]:
        """Return all services in their newest revision, sorted by name."""
        models = self._models(Service, "list_services", self._read("list_services", "/services"), "services")
        return ModelList(Service, models, by=lambda each: each.name)

    def get_service(self, service: str, /) -> Service:
        """Return one service in its newest revision.

        Raises:
            NotFound: there is no service with this name.
        """
        with suggesting(self.list_services, service):
            return self._model(Service, "get_service", self._read("get_service", _path(service)))

    def get_service_openapi(self, service: str, /) -> dict[str, Any]:
        """Return the OpenAPI document of a service's handlers at the ingress.

        Raises:
            NotFound: there is no service with this name.
        """
        with suggesting(self.list_services, service):
            document: dict[str, Any] = self._read("get_service_openapi", f"{_path(service)}/openapi")
        return document

    def list_service_handlers(self, service: str, /) -> ModelList[Handler]:
        """Return a service's handlers, sorted by name.

        Raises:
            NotFound: there is no service with this name.
        """
        with suggesting(self.list_services, service):
            answer = self._read("list_service_handlers", f"{_path(service)}/handlers")
        models = self._models(Handler, "list_service_handlers", answer, "handlers")
        return ModelList(Handler, models, by=lambda each: each.name)

    def get_service_handler(self, service: str, handler: str, /) -> Handler:
        """Return one handler.

        Raises:
            NotFound: there is no service or handler with this name.
        """
        path = f"{_path(service)}/handlers/{path_segment(check_name('handler', handler))}"
        with suggesting(self.list_services, service, handler):
            return self._model(Handler, "get_service_handler", self._read("get_service_handler", path))

    def modify_service(
        self,
        service: str,
        /,
        *,
        public: bool | None = None,
        journal_retention: DurationInput | None = None,
        idempotency_retention: DurationInput | None = None,
        workflow_completion_retention: DurationInput | None = None,
        inactivity_timeout: DurationInput | None = None,
        abort_timeout: DurationInput | None = None,
        reason: str | None = None,
    ) -> Service:
        """Change a service's configuration and return the service; an argument of None changes nothing.

        Durations are seconds, text ("30s", "2h 30min", "PT2H") or timedeltas. The next deployment of the service brings
        a new revision with its own configuration, which replaces these changes.

        Raises:
            NotFound: there is no service with this name.
            RequestRefused: ``workflow_completion_retention`` was passed, but the service is not a workflow.
        """
        values = {
            "journal_retention": journal_retention,
            "idempotency_retention": idempotency_retention,
            "workflow_completion_retention": workflow_completion_retention,
            "inactivity_timeout": inactivity_timeout,
            "abort_timeout": abort_timeout,
        }
        body: dict[str, Any] = {name: check_duration(name, value) for name, value in drop_none(**values).items()}
        body |= {} if public is None else {"public": check_flag("public", public)}
        if not body:
            raise ArgumentError(f"modify_service needs at least one of: public, {', '.join(values)}.")
        with suggesting(self.list_services, service):
            answer = self._change(
                "modify_service", "PATCH", _path(service), targets=[service, *body], reason=reason, json=body
            )
        return self._model(Service, "modify_service", answer)


def _path(service: str) -> str:
    return f"/services/{path_segment(check_name('service', service))}"
