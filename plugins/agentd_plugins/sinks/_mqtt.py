"""aiomqtt's client, and what it passes over: why a broker refuses a message, its limits, and a lost connection.

Imported only where the library is there.
"""

import asyncio
import contextlib
from typing import Any

import aiomqtt
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

TOO_LARGE = 0x95
"""Reason code of MQTT 5: the packet is larger than the other side takes."""

SUCCESS = 0

PUBLISH = 0x30
"""The type of the packets that bring messages (MQTT 5, section 2.1.2)."""

LARGEST = 1 << 16
"""Bytes that an answer of a broker may have: with a reason in words, a few hundred."""

LARGEST_MESSAGE = 16 << 20
"""Bytes that a message may have which nobody has asked for: some brokers subscribe clients by themselves."""

UNSENT = 1 << 17
"""Packets that may wait to be sent: twice as many as messages may be on their way."""


class Client(aiomqtt.Client):
    """One connection to a broker, used once."""

    largest: int | None
    """Bytes that a packet may have."""
    receive_maximum = 65535
    """Messages that the broker lets wait for its acknowledgement."""

    def __init__(self, *, largest: int | None = None, **options: Any) -> None:
        super().__init__(**options, max_inflight_messages=0)  # who publishes sees to the limit
        self.largest = largest
        self._receive = self._client._sock_recv  # noqa: SLF001  # the one place through which paho-mqtt reads
        self._client._sock_recv = self._received  # type: ignore[method-assign]  # noqa: SLF001  # as above
        # What comes all the same would be kept for who reads it, and nobody does.
        self._client._handle_publish = _pass_over  # type: ignore[method-assign]  # noqa: SLF001  # as above
        self._acknowledgements: dict[int, asyncio.Future[int]] = {}
        self._disconnected.add_done_callback(self._lose)

    async def open(self) -> None:
        """Connect. Where this is cancelled, the connection is closed as soon as it is there."""
        task = asyncio.ensure_future(self.__aenter__())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._too_late)
            raise
        except BaseException:
            self._hang_up()
            raise
        self._disconnected.add_done_callback(self._lose)  # it may be another by now

    def _received(self, bufsize: int) -> bytes:
        """Read so many bytes at most. Raises ``ConnectionError`` where the broker sends, or makes wait, without end."""
        packet, unsent = self._client._in_packet, self._client._out_packet  # noqa: SLF001
        is_message = packet["command"] & 0xF0 == PUBLISH
        if packet["remaining_length"] > (LARGEST_MESSAGE if is_message else LARGEST) or len(unsent) > UNSENT:
            raise ConnectionResetError("it sends more than a broker has to say")
        return self._receive(bufsize)

    def _too_late(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled():
            task.exception()  # asyncio complains of errors that nobody asks for
        self._hang_up()

    async def close(self) -> None:
        """Say good-bye, but wait for no answer."""
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
            async with asyncio.timeout(1):
                await self.__aexit__(None, None, None)
        self._hang_up()

    def _hang_up(self) -> None:
        self._client._sock_close()  # noqa: SLF001  # paho-mqtt's only way out of a connection that hangs

    @property
    def lost(self) -> bool:
        """Whether the connection is no more."""
        return self._disconnected.done()

    def put(self, topic: str, payload: bytes, qos: int, *, retain: bool) -> "asyncio.Future[int]":
        """Publish; the answer is the reason code of the acknowledgement (MQTT 5, section 2.4), 0 for all that is well.

        At QoS 0 it is given when the message is on its way. Fails with ``MqttError`` where the connection breaks
        before.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # 5 bytes of type and length, 2 each for the topic's length and the message's number, 1 for no properties
        if self.largest is not None and 10 + len(topic.encode()) + len(payload) > self.largest:
            future.set_result(TOO_LARGE)
            return future
        info = self._client.publish(topic, payload, qos, retain)
        if self.lost or info.rc != SUCCESS:
            future.set_exception(self._why())
        elif qos == 0 and info.is_published():
            future.set_result(SUCCESS)
        else:
            self._acknowledgements[info.mid] = future
        return future

    def _on_connect(
        self, client: Any, userdata: Any, flags: Any, reason_code: ReasonCode, properties: Properties | None = None
    ) -> None:
        said: int | None = getattr(properties, "MaximumPacketSize", None)
        self.largest = min((size for size in (said, self.largest) if size is not None), default=None)
        self.receive_maximum = getattr(properties, "ReceiveMaximum", self.receive_maximum)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: Any, reason_code: ReasonCode, properties: Properties | None = None
    ) -> None:
        if not self._connected.done():  # aiomqtt would wait for an answer until its patience ends
            self._connected.set_exception(aiomqtt.MqttCodeError(reason_code))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        future = self._acknowledgements.pop(mid, None)
        if future is not None and not future.done():
            future.set_result(reason_code.value if reason_code.is_failure else SUCCESS)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        def register() -> None:
            if client.socket() is sock:  # aiomqtt forgets that it may be closed by now, and its number another's
                self._loop.add_writer(sock.fileno(), write)

        def write() -> None:
            try:
                client.loop_write()
            except Exception as error:  # noqa: BLE001  # whatever it is, the connection is of no more use
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        self._loop.call_soon_threadsafe(register)

    def _lose(self, disconnected: "asyncio.Future[None]") -> None:
        waiting, self._acknowledgements = self._acknowledgements, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(self._why())
        if not disconnected.cancelled():
            disconnected.exception()  # as above

    def _why(self) -> Exception:
        error = self._disconnected.exception() if self.lost and not self._disconnected.cancelled() else None
        return aiomqtt.MqttCodeError(getattr(error, "rc", None), "the connection is lost")


def _pass_over() -> MQTTErrorCode:
    """Take no notice of a message, which is not acknowledged either."""
    return MQTTErrorCode.MQTT_ERR_SUCCESS
