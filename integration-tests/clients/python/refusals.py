"""What the driver does with a refused table: `refusals.py HOST PORT TABLE unauthorized|unavailable|damaged`.

A denied key and damage must reach the application at once, without asking the retry policy; an outage is the retry policy's to decide.
"""

import sys

from cassandra import ReadFailure, Unauthorized, Unavailable
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import RetryPolicy


class Asked(RetryPolicy):
    """The driver's own policy, with a count of what it was asked."""

    def __init__(self):
        self.questions = []

    def on_read_timeout(self, *args, **kwargs):
        self.questions.append("read timeout")
        return super().on_read_timeout(*args, **kwargs)

    def on_write_timeout(self, *args, **kwargs):
        self.questions.append("write timeout")
        return super().on_write_timeout(*args, **kwargs)

    def on_unavailable(self, *args, **kwargs):
        self.questions.append("unavailable")
        return super().on_unavailable(*args, **kwargs)

    def on_request_error(self, *args, **kwargs):
        self.questions.append("request error")
        return super().on_request_error(*args, **kwargs)


def main():
    host, port, table, wanted = sys.argv[1:]
    policy = Asked()
    profile = ExecutionProfile(retry_policy=policy, request_timeout=30)
    cluster = Cluster([host], port=int(port), execution_profiles={EXEC_PROFILE_DEFAULT: profile})
    session = cluster.connect()
    error, questions = {
        "unauthorized": (Unauthorized, []),
        "unavailable": (Unavailable, ["unavailable"]),
        "damaged": (ReadFailure, []),
    }[wanted]
    # What is damaged is written all the same.
    writes = [] if wanted == "damaged" else [f"INSERT INTO {table} (p, c, v) VALUES (1, 1, 0x00)"]
    for statement in [f"SELECT * FROM {table} WHERE p = 1", *writes]:
        policy.questions.clear()
        try:
            session.execute(statement)
        except NoHostAvailable as tried:
            # The policy said: on the next host. There is none.
            assert wanted == "unavailable" and all(isinstance(refusal, error) for refusal in tried.errors.values()), tried
        except error as refusal:
            assert "KMS_KEY_INACCESSIBLE" in str(refusal) or wanted != "unauthorized", refusal
        else:
            sys.exit(f"{statement} was answered")
        # A policy that may retry on another host is asked again by each of them; here there is one.
        assert set(policy.questions) == set(questions), f"{statement}: the retry policy was asked about {policy.questions}"
    cluster.shutdown()
    print("refused as it should be")


main()
