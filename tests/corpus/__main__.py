"""`make corpus`: judge healer and three simpler policies by the corpus. Exit code 1 when healer does harm, or not what is expected."""

import logging
import sys

import structlog

from tests.corpus.corpus import SCENARIOS, Judged, judge_all, table


def main() -> int:
    """Print the table, with progress on a terminal."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    judged: list[Judged] = []
    for each in judge_all():
        judged.append(each)
        if sys.stderr.isatty():
            print(f"\r{len(judged)} of {len(SCENARIOS)}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    print("\n".join(table(judged)))
    return 0 if all(each.met for each in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
