"""Which transport a client's data operations use, and why."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from dynamodb_wrapper.config.direct.listeners import Events, Listeners
from dynamodb_wrapper.config.direct.settings import settings_of
from dynamodb_wrapper.config.direct.transport import DirectTransport
from dynamodb_wrapper.exceptions import ConfigurationError

if TYPE_CHECKING:
    from dynamodb_wrapper.config.clock import Clock

logger = logging.getLogger(__name__)

_PARTS_OF_BOTOCORE = {
    "botocore.discovery": "endpoint discovery (AWS_ENDPOINT_DISCOVERY_ENABLED) is on",
    "botocore.monitoring": "client-side monitoring (AWS_CSM_ENABLED) is on",
}


def direct_transport(
    client: Any, session: Any, events: Events, clock: Clock, *, is_demanded: bool
) -> DirectTransport | None:
    """Return the transport of a client; None where its settings need boto3's.

    Args:
        client: A client that was just made.
        session: The botocore session it was made with.
        events: What that session was made with.
        clock: Sees the dates of replies.
        is_demanded: Whether it is an error if there is none.

    Raises:
        ConfigurationError: It is demanded, and a setting is not supported; it is named.
    """
    try:
        _check_parts(events)
        settings = settings_of(client, session)
    except ConfigurationError as error:
        if is_demanded:
            raise ConfigurationError(
                f"transport='direct' cannot be used: {error} Change that, or choose "
                "transport='auto'."
            ) from error
        logger.debug("The client of %s uses transport 'boto3': %s", client.meta.endpoint_url, error)
        return None
    listeners = Listeners(client, events)
    credentials = session.get_credentials()
    logger.debug(
        "The client of %s uses transport 'direct': every setting is supported.",
        client.meta.endpoint_url,
    )
    return DirectTransport(client, credentials, listeners, settings, clock, is_demanded)


def _check_parts(events: Events) -> None:
    for other in events.others:
        for module, setting in _PARTS_OF_BOTOCORE.items():
            if str(getattr(other.handler, "__module__", "")).startswith(module):
                raise ConfigurationError(f"{setting}.")
