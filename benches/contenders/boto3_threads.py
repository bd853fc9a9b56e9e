"""boto3 with twenty threads and a session for each account."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import orjson

ROLE = "PoolCensusReader"


def read(account: str, own: str, regions: list[str]) -> list[bytes]:
    """Return the pools of one account, as lines of JSON."""
    if account == own:
        session = boto3.Session()
    else:
        sts = boto3.Session().client("sts", region_name="us-east-1")
        keys = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/{ROLE}", RoleSessionName="threads")[
            "Credentials"
        ]
        session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    lines = []
    for region in regions:
        client = session.client("workspaces", region_name=region)
        request: dict[str, object] = {"Limit": 25}
        while True:
            page = client.describe_workspaces_pools(**request)
            lines += [
                orjson.dumps({"account_id": account, "region": region, "pool": pool}) + b"\n"
                for pool in page["WorkspacesPools"]
            ]
            if not page.get("NextToken"):
                break
            request["NextToken"] = page["NextToken"]
    return lines


def main(regions: list[str], path: Path) -> None:
    """Write the pools of all accounts."""
    own = boto3.client("sts", region_name="us-east-1").get_caller_identity()["Account"]
    pages = boto3.client("organizations", region_name="us-east-1").get_paginator("list_accounts").paginate()
    accounts = [each["Id"] for page in pages for each in page["Accounts"]]
    with ThreadPoolExecutor(20) as threads, path.open("wb") as out:
        for lines in threads.map(lambda account: read(account, own, regions), accounts):
            out.writelines(lines)


if __name__ == "__main__":
    main(sys.argv[1].split(","), Path(sys.argv[2]))
