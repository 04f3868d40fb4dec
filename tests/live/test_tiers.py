"""The figures of collapsing, with room for machines that are busy or sanitized; tools/bench --tiers measures them."""
from harness import *

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
import tiers


def test_ten_thousand_at_once_over_two_edges_and_two_shields_are_one():
    assert tiers.collapse() == (10000, 1)


def test_waiters_stream_with_their_leader():
    """The best of some rounds: what else the machine does holds up some of them, a node that made waiters wait would hold up all."""
    median, last = tiers.waiters(best=True)
    assert median < 0.003 * SLOW, f"{median * 1e3:.2f} ms after the leader"
    assert last < 0.2 * SLOW, f"the last of 1,000 {last * 1e3:.1f} ms after the leader"


if __name__ == "__main__":
    main()
