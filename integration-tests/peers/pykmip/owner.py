"""What the owner of keys does in PyKMIP's server, with a certificate of its own.

    owner.py FOLDER PORT create NAME [--bits N] [--usage encrypt,decrypt] [--pre-active]    prints the key's unique identifier
    owner.py FOLDER PORT activate ID
    owner.py FOLDER PORT revoke ID        one-way: a deactivated key stays so
    owner.py FOLDER PORT destroy ID
    owner.py FOLDER PORT allow NAME | forbid NAME

Each key has an operation policy of its name. `forbid` leaves its use to the owner, `allow` opens to others what Palladium needs and nothing else (PyKMIP
lets a client encrypt and decrypt exactly where it lets it Get).
The server reads policies once a second; all but `allow` and `forbid` wait until theirs counts.
"""

import argparse
import json
import os
import pathlib
import time

from kmip.core import enums
from kmip.pie import client as pie
from kmip.pie import objects
from kmip.pie.exceptions import KmipOperationFailure

PATIENCE_S = 30


def write_policy(folder, name, others):
    policy = {operation: "ALLOW_OWNER" for operation in ("ACTIVATE", "REVOKE", "DESTROY")}
    policy |= {operation: others for operation in ("GET", "GET_ATTRIBUTES")}
    policy["LOCATE"] = "ALLOW_ALL"
    file = folder / "policies" / f"{name}.json"
    half = file.with_suffix(".half")
    half.write_text(json.dumps({name: {"preset": {"SYMMETRIC_KEY": policy}}}))
    os.replace(half, file)


def patiently(action):
    """Repeats what is refused until the server has read the policy."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return action()
        except KmipOperationFailure as refusal:
            if refusal.reason != enums.ResultReason.PERMISSION_DENIED or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def create(client, folder, arguments):
    write_policy(folder, arguments.key, "ALLOW_ALL")
    # Registered, because PyKMIP's `create` adds Encrypt and Decrypt to every usage mask.
    key = objects.SymmetricKey(
        enums.CryptographicAlgorithm.AES,
        arguments.bits,
        os.urandom(arguments.bits // 8),
        masks=[enums.CryptographicUsageMask[word.upper()] for word in arguments.usage.split(",")],
        name=arguments.key,
    )
    key.operation_policy_name = arguments.key
    made = client.register(key)
    patiently(lambda: client.get_attributes(made, ["State"]))
    if not arguments.pre_active:
        client.activate(made)
    print(made)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("port", type=int)
    parser.add_argument("action", choices=("create", "activate", "revoke", "destroy", "allow", "forbid"))
    parser.add_argument("key")
    parser.add_argument("--bits", type=int, default=256)
    parser.add_argument("--usage", default="encrypt,decrypt")
    parser.add_argument("--pre-active", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.folder
    if arguments.action in ("allow", "forbid"):
        write_policy(folder, arguments.key, "ALLOW_ALL" if arguments.action == "allow" else "ALLOW_OWNER")
        return
    client = pie.ProxyKmipClient(
        hostname="127.0.0.1",
        port=arguments.port,
        cert=str(folder / "owner.pem"),
        key=str(folder / "owner.key"),
        ca=str(folder / "ca.pem"),
        ssl_version="PROTOCOL_TLSv1_2",
    )
    with client:
        if arguments.action == "create":
            create(client, folder, arguments)
        elif arguments.action == "activate":
            patiently(lambda: client.activate(arguments.key))
        elif arguments.action == "revoke":
            code = enums.RevocationReasonCode.CESSATION_OF_OPERATION
            patiently(lambda: client.revoke(code, arguments.key))
        else:
            patiently(lambda: client.destroy(arguments.key))


if __name__ == "__main__":
    main()
