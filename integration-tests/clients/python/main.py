"""Runs every scenario against a CQL server: `main.py HOST PORT [--protocol N] [--compression lz4] [SCENARIO ...]`.

The same script runs under cassandra-driver and under scylla-driver (both are the module `cassandra`), and against Apache Cassandra 5.0.6 as well as
against ours: that is how we know that the script asks for nothing but what Cassandra does.
"""

import argparse
import sys
import time
import traceback

import conditions
import deletes
import errors
import mapper
import paging
import schema
import selects
import story
import values
import watching
import writes

CHAPTERS = [values, writes, conditions, selects, deletes, paging, schema, errors, watching, mapper]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("host")
    arguments.add_argument("port", type=int)
    arguments.add_argument("--protocol", type=int, help="native protocol version; by default the driver negotiates")
    arguments.add_argument("--compression", choices=["lz4"], help="by default the driver chooses what both sides have")
    arguments.add_argument("scenario", nargs="*", help="only these")
    options = arguments.parse_args()

    scenarios = [scenario for chapter in CHAPTERS for scenario in story.scenarios(chapter)]
    if options.scenario:
        scenarios = [scenario for scenario in scenarios if scenario.__name__ in options.scenario]
        if len(scenarios) != len(options.scenario):
            sys.exit("no such scenario among: " + " ".join(options.scenario))

    world = story.World(options.host, options.port, options.protocol, options.compression)
    failed = []
    for scenario in scenarios:
        started = time.monotonic()
        try:
            with world.keyspace() as (session, keyspace):
                scenario(world, session, keyspace)
            print(f"ok      {scenario.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
        except Exception:
            failed.append(scenario.__name__)
            print(f"FAILED  {scenario.__name__}", flush=True)
            traceback.print_exc(file=sys.stdout)
            world.session = world.connect()
    world.close()
    print(f"{len(scenarios) - len(failed)} passed, {len(failed)} failed" + "".join(f"\n  {name}" for name in failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
