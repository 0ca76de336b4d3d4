"""Sessions: where credentials come from, and what clients are made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.config.bodies import keep_bodies

if TYPE_CHECKING:
    from dynamodb_wrapper.config.direct import Events
    from dynamodb_wrapper.config.settings import DynamoDBConfig


def create_session(config: DynamoDBConfig, loaders: list[Any], events: Events | None) -> Any:
    """Return the session a client is made with.

    Args:
        config: Credentials, profile, region.
        loaders: The data loader all sessions share; the first session adds it.
        events: Used by the session instead of botocore's own.

    Raises:
        ProfileNotFound: The profile is not there.
    """
    session = _new_session(config, None if config.role_arn else events)
    if loaders:
        session.register_component("data_loader", loaders[0])
    else:
        from dynamodb_wrapper.config.service_data import faster

        loaders.append(faster(session.get_component("data_loader")))
        session.register_component("data_loader", loaders[0])
    if config.aws_access_key_id is not None and config.aws_secret_access_key is not None:
        token = config.aws_session_token
        session.set_credentials(
            config.aws_access_key_id.get_secret_value(),
            config.aws_secret_access_key.get_secret_value(),
            token.get_secret_value() if token is not None else None,
        )
    return _assume_role(session, config, config.role_arn, events) if config.role_arn else session


def _new_session(config: DynamoDBConfig, events: Events | None) -> Any:
    import botocore.session

    session = botocore.session.Session(profile=config.profile_name, event_hooks=events)
    keep_bodies(session)
    if config.region_name is not None:
        session.set_config_variable("region", config.region_name)
    return session


def _assume_role(source: Any, config: DynamoDBConfig, role_arn: str, events: Events | None) -> Any:
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    fetcher = AssumeRoleCredentialFetcher(
        client_creator=source.create_client,
        source_credentials=source.get_credentials(),
        role_arn=role_arn,
        extra_args={"RoleSessionName": "dynamodb-wrapper"},
    )
    target = _new_session(config, events)
    target.register_component("data_loader", source.get_component("data_loader"))
    # botocore offers no public setter for renewable credentials; its own provider chain does:
    # a provider placed first in the chain is asked first and renews them by itself.
    credentials = DeferredRefreshableCredentials(
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )
    target.get_component("credential_provider").providers.insert(0, _RoleProvider(credentials))
    return target


class _RoleProvider:
    METHOD = "dynamodb-wrapper-role"
    CANONICAL_NAME = None

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def load(self) -> Any:
        return self._credentials
