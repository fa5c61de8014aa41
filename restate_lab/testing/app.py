"""Find the Restate app that a person means, and the recorded handler in it.

The endpoint of an app is in the closure of the function that ``restate.app()`` returns, so it is searched there, in the
routes of FastAPI and Starlette, and in the apps that middleware wraps. The app of a replay is built again from the
services: without identity keys, because only a server can sign requests, and with other checks of payloads if asked.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from restate_lab.testing.errors import AppNotFound, HandlerNotFound, UnusableRecord

_DEFAULT = "app"
_DEPTH = 6  # of apps within apps


@dataclass(frozen=True, slots=True)
class App:
    """The services of an app by name, and its codec for values of the journal; None without one.

    ``call`` is the app itself, and ``services`` is empty, if its endpoint was not found.
    """

    services: Mapping[str, Any]
    codec: Any = None
    call: Callable[..., Any] | None = None

    def handler(self, service: str, name: str) -> Any:
        """Return the handler of a service; None if the services are not known.

        Raises:
            HandlerNotFound: the app does not have it.
        """
        if self.call is not None:
            return None
        found = self.services.get(service)
        handlers = getattr(found, "handlers", {})
        if name not in handlers:
            names = [f"{each}/{handler}" for each, value in self.services.items() for handler in value.handlers]
            raise HandlerNotFound(f"the app has no handler {service}/{name}; it has {', '.join(names) or 'none'}.")
        return handlers[name]

    def build(self, *, check_payloads: bool) -> Callable[..., Any]:
        """Return a new ASGI app with the same services, which accepts requests that are not signed.

        Raises:
            UnusableRecord: the SDK cannot leave payloads unchecked.
        """
        if self.call is not None:
            if check_payloads:
                return self.call
            raise UnusableRecord("payload checks can be off only for an app whose services are known.")
        import restate  # noqa: PLC0415 - only a replay needs the SDK

        codec = self.codec if self.codec is not None or check_payloads else _same_values()
        options = {} if codec is None else {"journal_value_codec": codec}
        app: Callable[..., Any] = restate.app(list(self.services.values()), **options)
        return app


def load_app(app: Any) -> App:
    """Return the app that an object or a text such as "shop.app:app" means. This imports the module.

    A text is "package.module:attribute" (by default ``app``), or "package.module:create_app()" for a factory. An object
    is an app, an app of FastAPI or Starlette in which it is mounted, a service, a list of services, a handler function,
    or a factory without arguments.

    Raises:
        AppNotFound: there is no such app, or the import of its module failed.
    """
    if isinstance(app, str):
        return _load_text(app)
    found = _app_in(app)
    if found is None:
        raise AppNotFound(
            f"app is a {type(app).__name__}, not a Restate app. Pass the app, a text such as 'shop.app:app', a service "
            f"or a handler function."
        )
    return found


@contextlib.contextmanager
def current_folder_importable() -> Iterator[None]:
    """Let modules of the current folder be imported within the block, as servers of apps do."""
    folder = os.getcwd()  # noqa: PTH109 - sys.path has texts
    if folder in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _load_text(text: str) -> App:
    module_name, _, attribute = text.partition(":")
    attribute = attribute.strip() or _DEFAULT
    module = _import(module_name.strip())
    is_factory = attribute.endswith("()")
    value: Any = module
    for name in attribute.removesuffix("()").split("."):
        value = getattr(value, name, None)
    found = _app_in(value() if is_factory and callable(value) else value)
    if found is None:
        raise AppNotFound(f"module {module_name!r} has no Restate app {attribute!r}; it has {_apps_in(module)}.")
    return found


def _import(name: str) -> ModuleType:
    if not name:
        raise AppNotFound("app is empty; pass a text such as 'shop.app:app'.")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise AppNotFound(f"there is no module {name!r} in {os.getcwd()} or on the path.") from error  # noqa: PTH109
        raise AppNotFound(f"importing {name} failed: {error!r}") from error
    except (Exception, SystemExit) as error:
        raise AppNotFound(f"importing {name} failed: {error!r}") from error


def _apps_in(module: ModuleType) -> str:
    """Return the names of a module that are Restate apps, for an error."""
    names = []
    for name, value in vars(module).items():
        if name.startswith("_") or isinstance(value, ModuleType | type) or not callable(value):
            continue
        with contextlib.suppress(Exception):
            endpoint, mount = _find_endpoint(value, _DEPTH)
            if endpoint is not None:
                names.append(f"{name} ({type(value).__name__}, mounted at {mount})" if mount else name)
    return ", ".join(names) or "none"


def _app_in(value: Any) -> App | None:
    try:
        import restate  # noqa: PLC0415
    except ImportError as error:
        raise AppNotFound("restate-sdk is not installed in this environment, so no handler can be called.") from error
    values = value if isinstance(value, list | tuple) else [value]
    if values and all(isinstance(each, restate.Service | restate.VirtualObject | restate.Workflow) for each in values):
        return App({each.name: each for each in values})
    return _app_of_function(value) if inspect.isfunction(value) else _app_around(value)


def _app_of_function(value: Any) -> App | None:
    """Return the app of a handler, or of a factory without arguments, or the app that a function is."""
    from restate.handler import Handler  # noqa: PLC0415

    for each in vars(value).values():
        if isinstance(each, Handler):
            return _app_of_handler(each)
    return _app_around(value) if inspect.signature(value).parameters else _app_in(value())


def _app_around(value: Any) -> App | None:
    endpoint, _ = _find_endpoint(value, _DEPTH)
    if endpoint is not None:
        return App(dict(endpoint.services), getattr(endpoint, "journal_value_codec", None))
    return App({}, call=value) if _is_asgi(value) else None


def _app_of_handler(handler: Any) -> App:
    """Return an app with one handler, whose service has the name and the kind of the handler's own."""
    import restate  # noqa: PLC0415

    tag = handler.service_tag
    kinds: dict[str, Any] = {"object": restate.VirtualObject, "workflow": restate.Workflow}
    service = kinds.get(tag.kind, restate.Service)(tag.name)
    service.handlers[handler.name] = handler
    return App({tag.name: service})


def _find_endpoint(value: Any, depth: int) -> tuple[Any, str]:
    """Return the endpoint within an app, and the path where it is mounted; None if there is none."""
    from restate.endpoint import Endpoint  # noqa: PLC0415

    if isinstance(value, Endpoint):
        return value, ""
    if depth == 0 or value is None:
        return None, ""
    for inner, path in _inner_apps(value):
        endpoint, mount = _find_endpoint(inner, depth - 1)
        if endpoint is not None:
            return endpoint, f"{path}{mount}"
    return None, ""


def _inner_apps(value: Any) -> Iterator[tuple[Any, str]]:
    """Yield what an app can have the endpoint in: its closure, its routes, and the app that it wraps."""
    if inspect.isfunction(value):
        for cell in value.__closure__ or ():
            with contextlib.suppress(ValueError):  # an empty cell
                content = cell.cell_contents
                if callable(content) or type(content).__name__ == "Endpoint":
                    yield content, ""
        return
    for route in getattr(value, "routes", None) or ():
        if getattr(route, "app", None) is not None:
            yield route.app, getattr(route, "path", "")
    if callable(value) and getattr(value, "app", None) is not None:
        yield value.app, ""


def _is_asgi(value: Any) -> bool:
    """Return whether a value is a function with the three arguments of an ASGI app."""
    try:
        return callable(value) and list(inspect.signature(value).parameters) == ["scope", "receive", "send"]
    except (TypeError, ValueError):
        return False


def _same_values() -> Any:
    """Return a codec that changes nothing: an SDK with a codec does not compare payloads.

    Raises:
        UnusableRecord: the SDK is older than codecs.
    """
    try:
        from restate.entry_codec import JournalValueCodec  # noqa: PLC0415
    except ImportError as error:
        raise UnusableRecord("this version of restate-sdk cannot leave payloads unchecked; update it.") from error

    class SameValues(JournalValueCodec):
        def encode(self, buf: bytes) -> bytes:
            return buf

        async def decode(self, buf: bytes) -> bytes:
            return buf

    return SameValues()
