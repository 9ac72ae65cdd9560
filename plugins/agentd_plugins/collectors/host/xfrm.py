"""Packets that IPsec could not handle, from /proc/net/xfrm_stat."""

from agentd.plugin import Collector, Config, Family, Metric, NoData, counter, hookimpl
from agentd_plugins.collectors.host._parsed import parsed


def packets(name: str, why: str) -> Metric:
    """Declare a counter of packets."""
    return counter(f"node_xfrm_{name}_packets_total", f"Number of packets {why}.")


class Xfrm(Collector[Config]):
    """What went wrong while packets were transformed, after the kernel's Documentation/networking/xfrm_proc.rst."""

    name = "xfrm"
    blocking = False

    errors = {
        b"XfrmInError": packets("in_error", "received with an error that no other counter has"),
        b"XfrmInBufferError": packets("in_buffer_error", "received for which there was no buffer"),
        b"XfrmInHdrError": packets("in_hdr_error", "received whose header was wrong"),
        b"XfrmInNoStates": packets("in_no_states", "received for which no security association was found"),
        b"XfrmInStateProtoError": packets(
            "in_state_proto_error", "received that their protocol refused, a wrong key say"
        ),
        b"XfrmInStateModeError": packets("in_state_mode_error", "received that their mode (tunnel, transport) refused"),
        b"XfrmInStateSeqError": packets("in_state_seq_error", "received whose sequence number was out of the window"),
        b"XfrmInStateExpired": packets("in_state_expired", "received whose association had expired"),
        b"XfrmInStateMismatch": packets("in_state_mismatch", "received that did not fit the association's options"),
        b"XfrmInStateInvalid": packets("in_state_invalid", "received whose association was invalid"),
        b"XfrmInTmplMismatch": packets("in_tmpl_mismatch", "received whose associations fit no template of a policy"),
        b"XfrmInNoPols": packets("in_no_pols", "received whose associations fit, but for which there was no policy"),
        b"XfrmInPolBlock": packets("in_pol_block", "received that a policy discarded"),
        b"XfrmInPolError": packets("in_pol_error", "received whose policy failed"),
        b"XfrmOutError": packets("out_error", "to be sent with an error that no other counter has"),
        b"XfrmOutBundleGenError": packets("out_bundle_gen_error", "to be sent whose bundle could not be made"),
        b"XfrmOutBundleCheckError": packets("out_bundle_check_error", "to be sent whose bundle did not hold"),
        b"XfrmOutNoStates": packets("out_no_states", "to be sent for which no security association was found"),
        b"XfrmOutStateProtoError": packets("out_state_proto_error", "to be sent that their protocol refused"),
        b"XfrmOutStateModeError": packets("out_state_mode_error", "to be sent that their mode refused"),
        b"XfrmOutStateSeqError": packets("out_state_seq_error", "to be sent when sequence numbers had run out"),
        b"XfrmOutStateExpired": packets("out_state_expired", "to be sent whose association had expired"),
        b"XfrmOutPolBlock": packets("out_pol_block", "to be sent that a policy discarded"),
        b"XfrmOutPolDead": packets("out_pol_dead", "to be sent whose policy was no longer there"),
        b"XfrmOutPolError": packets("out_pol_error", "to be sent whose policy failed"),
        b"XfrmFwdHdrError": packets("fwd_hdr_error", "that were not to be forwarded"),
        b"XfrmOutStateInvalid": packets("out_state_invalid", "to be sent whose association was invalid"),
        b"XfrmAcquireError": packets("acquire_error", "for which an association was not made in time"),
    }

    def collect(self) -> list[Family]:
        """Return all counters. One that an older kernel lacks is 0, as in node_exporter."""
        try:
            counts = parsed(self.host, "net/xfrm_stat", parse)
        except FileNotFoundError:
            raise NoData("the kernel keeps no statistics of IPsec: it needs CONFIG_XFRM_STATISTICS") from None
        return [metric(counts.get(name, 0.0)) for name, metric in self.errors.items()]


def parse(text: bytes) -> dict[bytes, float]:
    """Return the numbers in a /proc/net/xfrm_stat by their names. Raises ``ValueError`` on anything but such pairs."""
    words = text.split()
    if len(words) % 2 or not words:
        raise ValueError(f"expected names and numbers in xfrm_stat, found {text[-80:]!r} at its end")
    return dict(zip(words[::2], map(float, words[1::2]), strict=True))


@hookimpl
def agentd_collectors() -> list[type[Xfrm]]:
    """Register the collector."""
    return [Xfrm]
