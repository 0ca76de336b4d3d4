"""Sessions: where credentials come from, and what clients are made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.config.bodies import keep_bodies_of_old_clients

if TYPE_CHECKING:
    from dynamodb_wrapper.config.direct import Events
    from dynamodb_wrapper.config.settings import DynamoDBConfig


def create_session(
    config: DynamoDBConfig, loaders: list[Any], events: Events | None
) -> tuple[Any, Any]:
    """Return the session of boto3 a client is made with, and the one of botocore in it.

    Args:
        config: Credentials, profile, region.
        loaders: The data loader all sessions share; the first session adds it.
        events: Used by the sessions instead of botocore's own.

    Raises:
        ProfileNotFound: The profile is not there.
    """
    import boto3.session
    import botocore.session

    own_events = None if config.role_arn else events
    core = botocore.session.Session(profile=config.profile_name, event_hooks=own_events)
    keep_bodies_of_old_clients(core)
    if loaders:
        core.register_component("data_loader", loaders[0])
    else:
        loaders.append(core.get_component("data_loader"))
    if config.aws_access_key_id is not None and config.aws_secret_access_key is not None:
        token = config.aws_session_token
        core.set_credentials(
            config.aws_access_key_id.get_secret_value(),
            config.aws_secret_access_key.get_secret_value(),
            token.get_secret_value() if token is not None else None,
        )
    session = boto3.session.Session(botocore_session=core, region_name=config.region_name)
    if config.role_arn:
        return _assume_role(session, core, config, config.role_arn, events)
    return session, core


def _assume_role(
    source: Any, core: Any, config: DynamoDBConfig, role_arn: str, events: Events | None
) -> tuple[Any, Any]:
    import boto3.session
    import botocore.session
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    fetcher = AssumeRoleCredentialFetcher(
        client_creator=core.create_client,
        source_credentials=source.get_credentials(),
        role_arn=role_arn,
        extra_args={"RoleSessionName": "dynamodb-wrapper"},
    )
    target = botocore.session.Session(profile=config.profile_name, event_hooks=events)
    keep_bodies_of_old_clients(target)
    target.register_component("data_loader", core.get_component("data_loader"))
    # botocore offers no public setter for renewable credentials; its own provider chain does:
    # a provider placed first in the chain is asked first and renews them by itself.
    credentials = DeferredRefreshableCredentials(
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )
    target.get_component("credential_provider").providers.insert(0, _RoleProvider(credentials))
    session = boto3.session.Session(botocore_session=target, region_name=config.region_name)
    return session, target


class _RoleProvider:
    METHOD = "dynamodb-wrapper-role"
    CANONICAL_NAME = None

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def load(self) -> Any:
        return self._credentials
