"""What both ends of a gRPC connection must agree upon: limits, keepalive, error codes.

gRPC's defaults are made for another world: 4 MiB messages, dead peers noticed
after hours, two servers sharing one port in silence, calls sent through the
site's web proxy. Every option that matters here is set, and says why.
"""

from __future__ import annotations

DEFAULT_MAX_MESSAGE_BYTES = 16 << 20
# The trailing metadata that carries `PackhorseError.code`.
CODE_KEY = "packhorse-code"
# A peer that answers no ping is given up after twice this long.
KEEPALIVE_S = 10.0

_MAX_MESSAGE_TEXT_BYTES = 4096
# Every byte of a status text may be sent as three characters ("%C3").
_MAX_METADATA_BYTES = 4 * _MAX_MESSAGE_TEXT_BYTES

Options = list[tuple[str, int]]


def server_options(max_message_bytes: int) -> Options:
    """Options of a server, besides those both ends share."""
    return [
        *_shared_options(max_message_bytes, KEEPALIVE_S),
        # A second server on the same port must fail, not take half of the calls.
        ("grpc.so_reuseport", 0),
        # Clients ping although a stream is silent. The default takes the third
        # such ping for an attack and hangs up with "too_many_pings".
        ("grpc.http2.max_ping_strikes", 0),
        # High, because a stream is held for every worker and every open file,
        # and many of them share one connection; but not without end.
        ("grpc.max_concurrent_streams", 10_000),
    ]


def channel_options(max_message_bytes: int, keepalive_s: float = KEEPALIVE_S) -> Options:
    """Options of a client's channel, besides those both ends share."""
    return [
        *_shared_options(max_message_bytes, keepalive_s),
        # Servers are inside the site; http_proxy is meant for the world outside.
        ("grpc.enable_http_proxy", 0),
        # A restarted server is found again within seconds, not two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]


def fit_message(message: str) -> str:
    """The message, cut where gRPC would refuse to carry it."""
    encoded = message.encode(errors="replace")
    if len(encoded) <= _MAX_MESSAGE_TEXT_BYTES:
        return encoded.decode()
    return encoded[:_MAX_MESSAGE_TEXT_BYTES].decode(errors="ignore") + " […]"


def _shared_options(max_message_bytes: int, keepalive_s: float) -> Options:
    keepalive_ms = int(keepalive_s * 1000)
    return [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        # Room for `fit_message`; the default refuses some errors outright.
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * _MAX_METADATA_BYTES),
        # Ping a silent peer, wait as long again for the answer, then hang up:
        # a machine that lost power or a cut cable is noticed in 20 s.
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", keepalive_ms),
        # The ping of a keepalive has a patience of its own: a minute, if not set.
        ("grpc.http2.ping_timeout_ms", keepalive_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        # Never stop pinging because no data flows in between.
        ("grpc.http2.max_pings_without_data", 0),
    ]
