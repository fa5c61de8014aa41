"""Deployments: list, register, move, remove."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from restate_lab.client.admin.operations import Operations, drop_none, verification_errors
from restate_lab.client.arguments import (
    check_flag,
    check_id,
    check_list,
    check_name,
    check_reason,
    check_strings,
    check_uri,
)
from restate_lab.client.models import DeletedDeployments, Deployment, GoogleIdTokenAuth, HttpAuth, RegisteredDeployment
from restate_lab.client.models.base import ModelList
from restate_lab.client.responses import SUCCESS
from restate_lab.errors import ArgumentError, NotOnThisServer, OutcomeUnknown, ServerFailed
from restate_lab.redaction import Secret

_URI = "http://host:9080"
_ARN = "arn:aws:lambda:eu-central-1:123456789012:function:name:1"
_BULK_DELETE = "/deployments/bulk-delete"
Headers = Mapping[str, str | Secret]


class Deployments(Operations):
    """Operations on deployments."""

    def list_deployments(self) -> ModelList[Deployment]:
        """Return all deployments, oldest first; their services only have name and revision."""
        answer = self._read("list_deployments", "/deployments")
        models = self._models(Deployment, "list_deployments", answer, "deployments")
        return ModelList(Deployment, models, by=lambda each: (str(each.created_at or ""), each.id))

    def get_deployment(self, deployment: str, /) -> Deployment:
        """Return one deployment with complete services.

        Raises:
            NotFound: there is no deployment with this id.
        """
        path = f"/deployments/{check_id('deployment', deployment, 'deployment')}"
        return self._model(Deployment, "get_deployment", self._read("get_deployment", path))

    def create_deployment(
        self,
        *,
        uri: str | None = None,
        arn: str | None = None,
        assume_role_arn: str | None = None,
        additional_headers: Headers | None = None,
        auth: GoogleIdTokenAuth | None = None,
        metadata: Mapping[str, str] | None = None,
        force: bool = False,
        breaking: bool = False,
        dry_run: bool = False,
        use_http_11: bool = False,
        reason: str | None = None,
    ) -> RegisteredDeployment:
        """Register an HTTP deployment by ``uri``, or a Lambda deployment by ``arn``; the server discovers its services.

        If the address is already registered, nothing changes; ``force=True`` discovers it again, which can break
        invocations that have not ended. (In the server's API document ``force`` is true by default, but 1.7
        behaves as if it is false. So does this method.) ``breaking`` allows services that are incompatible with their
        earlier revision. ``dry_run`` stores nothing; the returned id is invented. ``additional_headers`` are sent with
        every request to the deployment; their values may be ``Secret``. ``auth`` and ``use_http_11`` are
        for HTTP, ``assume_role_arn`` is for Lambda.

        Raises:
            ServerFailed: the deployment does not respond, or is not a Restate SDK (META0003).
            Conflict: its services are incompatible with the registered ones.
            NotOnThisServer: ``auth`` was passed, but the server would ignore it.
        """
        address = _address(uri, arn)
        if address is None:
            raise ArgumentError("uri or arn is required: pass uri for an HTTP deployment, or arn for AWS Lambda.")
        _check_kind(arn is not None, assume_role_arn=assume_role_arn, auth=auth, use_http_11=use_http_11 or None)
        if auth is not None:
            self._catalog.require("create_deployment", "auth")
        body = {
            **address,
            **_common(additional_headers, assume_role_arn),
            **drop_none(metadata=None if metadata is None else check_strings("metadata", metadata), auth=_auth(auth)),
            **_flags(force=force, breaking=breaking, dry_run=dry_run, use_http_11=use_http_11 or None),
        }
        targets = _targets(address, dry_run)
        answer = self._change("create_deployment", "POST", "/deployments", targets=targets, reason=reason, json=body)
        known = {"is_new": answer.status_code == 201, "is_dry_run": dry_run, "is_forced": force}
        return self._model(RegisteredDeployment, "create_deployment", answer, **known)

    def update_deployment(
        self,
        deployment: str,
        /,
        *,
        uri: str | None = None,
        arn: str | None = None,
        assume_role_arn: str | None = None,
        additional_headers: Headers | None = None,
        use_http_11: bool | None = None,
        overwrite: bool = False,
        dry_run: bool = False,
        reason: str | None = None,
    ) -> Deployment:
        """Change the address or headers of a deployment; invocations pinned to it continue at the new address.

        An argument of None changes nothing. ``additional_headers`` replaces all headers. The server discovers the
        services, which must be the registered ones; ``overwrite=True`` accepts all differences, even breaking ones.
        ``dry_run`` stores nothing.

        Raises:
            NotFound: there is no deployment with this id.
            ServerFailed: the deployment does not respond, or is not a Restate SDK (META0003).
        """
        id_ = check_id("deployment", deployment, "deployment")
        address = _address(uri, arn) or {}
        _check_kind(arn is not None, use_http_11=use_http_11, assume_role_arn=assume_role_arn if uri else None)
        body = {
            **address,
            **_common(additional_headers, assume_role_arn),
            **_flags(use_http_11=use_http_11, overwrite=overwrite, dry_run=dry_run),
        }
        targets = [id_, *_targets(address, dry_run)]
        path = f"/deployments/{id_}"
        answer = self._change("update_deployment", "PATCH", path, targets=targets, reason=reason, json=body)
        return self._model(Deployment, "update_deployment", answer, is_dry_run=dry_run)

    def delete_deployment(self, deployment: str, /, *, reason: str, force: bool = False) -> None:
        """Remove a deployment at once; each of its services returns to its earlier revision, or is removed.

        Servers up to 1.7 require ``force=True``. Invocations pinned to the deployment then fail with RT0011 again and
        again, so first check sys_invocation_status for rows with this id in ``pinned_deployment_id``.

        Raises:
            NotFound: there is no deployment with this id.
            NotOnThisServer: without ``force``, on a server that requires it.
        """
        id_, why = check_id("deployment", deployment, "deployment"), check_reason(reason)
        params = {"force": "true"} if check_flag("force", force) else None
        try:
            self._change("delete_deployment", "DELETE", f"/deployments/{id_}", targets=[id_], reason=why, params=params)
        except ServerFailed as error:
            if error.status != 501:
                raise
            raise NotOnThisServer(
                f"delete_deployment({id_!r}) without force is not supported by this server, Restate "
                f"{self._catalog.version}. Nothing was changed. force=True removes it even if invocations use it."
            ) from error

    def bulk_delete_deployments(
        self, deployments: Iterable[str], /, *, reason: str, force: bool = False
    ) -> DeletedDeployments:
        """Remove several deployments with one request (since 1.8.1); see ``delete_deployment`` for the consequences.

        The form of the request is read from the server's API document, because no server with this operation was
        available to the tests. ``force`` is sent if that form has it. The outcome is read from the list of deployments,
        also if the response was lost.

        Raises:
            NotOnThisServer: the server does not have the operation, or describes another request; nothing was sent.
            OutcomeUnknown: the response was lost, and some of the deployments are still registered.
        """
        listed = check_list("deployments", deployments, "ids", "remove")
        ids = list(dict.fromkeys(check_id("deployments", each, "deployment") for each in listed))
        is_forced, why = check_flag("force", force), check_reason(reason)
        try:
            request = self._catalog.ids_request("bulk_delete_deployments", _BULK_DELETE).arguments(ids, force=is_forced)
        except NotOnThisServer as error:
            raise NotOnThisServer(
                f"{str(error).rstrip('.')}. Nothing was sent. It needs 1.8.1 or newer; use delete_deployment(id, "
                f"force=True, reason=…) for each deployment."
            ) from error
        line = f"POST {_BULK_DELETE}"
        with self._transport.record("bulk_delete_deployments", ids, reason=why, request=line) as record:
            try:
                record.send("POST", _BULK_DELETE, success=SUCCESS["bulk_delete_deployments"], **request)
            except OutcomeUnknown:
                left: list[str] = []
                record.shield.let_through(lambda: left.extend(self._still_registered(ids)))
                if left:
                    raise
                record.result["outcome"] = "done"
        remaining = self._still_registered(ids)
        removed = tuple(id_ for id_ in ids if id_ not in remaining)
        return DeletedDeployments(removed=removed, remaining=remaining)

    def _still_registered(self, ids: Iterable[str]) -> tuple[str, ...]:
        with verification_errors("bulk_delete_deployments"):
            registered = {each.id for each in self.list_deployments()}
        return tuple(id_ for id_ in ids if id_ in registered)


def _address(uri: str | None, arn: str | None) -> dict[str, str] | None:
    if uri is not None and arn is not None:
        raise ArgumentError("uri and arn cannot be combined: pass uri for an HTTP deployment, or arn for AWS Lambda.")
    if uri is not None:
        checked = check_uri("uri", uri, _URI)
        if not checked.startswith(("http://", "https://")):
            raise ArgumentError(f"uri must begin with http:// or https://, such as {_URI}; got {checked[:60]!r}.")
        return {"uri": checked}
    if arn is not None:
        if not check_name("arn", arn).startswith("arn:") or ":lambda:" not in arn:
            raise ArgumentError(f"arn must be the ARN of a Lambda function, such as {_ARN}; got {arn[:60]!r}.")
        return {"arn": arn}
    return None


def _check_kind(is_lambda: bool, **arguments: Any) -> None:
    """Refuse arguments for the other kind of deployment."""
    for name, value in arguments.items():
        if value is not None and (name == "assume_role_arn") is not is_lambda:
            raise ArgumentError(f"{name} can only be combined with {'uri' if is_lambda else 'arn'}.")


def _common(additional_headers: Headers | None, assume_role_arn: str | None) -> dict[str, Any]:
    headers = additional_headers
    return drop_none(
        additional_headers=None if headers is None else check_strings("additional_headers", headers, as_headers=True),
        assume_role_arn=None if assume_role_arn is None else check_name("assume_role_arn", assume_role_arn),
    )


def _flags(**flags: bool | None) -> dict[str, bool]:
    return {name: check_flag(name, value) for name, value in drop_none(**flags).items()}


def _targets(address: Mapping[str, str], dry_run: bool) -> list[str]:
    return [*address.values(), *(["dry run"] if dry_run else [])]


def _auth(auth: GoogleIdTokenAuth | None) -> dict[str, Any] | None:
    if auth is None:
        return None
    if not isinstance(auth, GoogleIdTokenAuth):
        raise ArgumentError(f"auth must be a GoogleIdTokenAuth(audience=…); got a {type(auth).__name__}.")
    return HttpAuth.model_validate({"GoogleIdToken": auth}).model_dump(by_alias=True, exclude_none=True)
