"""`poolcensus simulate`."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from poolcensus.cli.command import Command
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.usage import integer, number
from poolcensus.format.text import counted
from poolcensus.partitions import partitions
from poolcensus.simulator import (
    Document,
    Fault,
    FaultKind,
    Latency,
    Limits,
    Policies,
    PolicySet,
    Simulator,
    SimulatorConfig,
    WorldConfig,
    read_document,
    serve,
)
from poolcensus.simulator.access import ENDPOINT_ID
from poolcensus.simulator.bounds import FieldError
from poolcensus.simulator.server import SERVICES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Config = TypeVar("Config", WorldConfig, Limits, SimulatorConfig)

# The parser for each field annotation. A field of another type has no option, or one written out below.
_TYPES: Mapping[str, Callable[[str], object]] = {"int": integer, "float": number, "str": str}
# The name of the option for each kind of policy, and what that policy is.
_POLICIES = {
    "caller_policy": "the caller's identity-based policy",
    "member_policy": "the identity-based policy of the role in the member accounts",
    "trust_policy": "the role's trust policy",
    "boundary": "the role's permissions boundary",
    "scp": "a service control policy of all member accounts",
    "rcp": "a resource control policy of all member accounts",
    "endpoint_policy": f"the policy of the VPC endpoint, {ENDPOINT_ID}, that calls of the role go through",
}
_OF_IDENTITIES = frozenset({"caller_policy", "member_policy", "boundary", "scp"})


def _policy_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add an option for each kind of policy to a command."""
    for name, whose in reversed(_POLICIES.items()):
        option = click.option(
            f"--{name.replace('_', '-')}",
            name,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help=f"JSON file with {whose}.",
        )
        function = option(function)
    return function


def _policies(given: Mapping[str, Any]) -> Policies:
    """Read the policies that the options name.

    Raises click.UsageError if a file can't be read, or is not a policy that the simulator can evaluate.
    """
    read = {name: _policy(name, given[name]) for name in _POLICIES}
    return Policies(
        caller=PolicySet(identity=read["caller_policy"]),
        members=PolicySet(
            identity=read["member_policy"],
            trust=read["trust_policy"],
            boundary=read["boundary"],
            scp=read["scp"],
            rcp=read["rcp"],
            endpoint=read["endpoint_policy"],
        ),
    )


def _policy(name: str, path: Path | None) -> Document | None:
    if path is None:
        return None
    try:
        return read_document(path.read_bytes(), of_identity=name in _OF_IDENTITIES)
    except (OSError, ValueError) as error:
        option = f"--{name.replace('_', '-')}"
        raise click.UsageError(f'{option}: "{path}" is not a policy that can be used: {error}') from None


def _fields(config: type[Config]) -> list[dataclasses.Field[Any]]:
    return [
        each
        for each in dataclasses.fields(config)
        if "help" in each.metadata and _kind(each) in {*_TYPES, "bool", "tuple[str, ...]"}
    ]


def _kind(field: dataclasses.Field[Any]) -> str:
    return str(field.type).removesuffix(" | None")


def _options(config: type[Config]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return a decorator that adds an option for each field of a configuration class of the simulator."""

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        for field in reversed(_fields(config)):
            flag, help_text = f"--{field.name.replace('_', '-')}", _sentence(field)
            if _kind(field) == "bool":
                # A switch that is on by default gets the option that turns it off.
                flag = f"--no-{field.name.replace('_', '-')}" if field.default else flag
                option = click.option(flag, field.name, is_flag=True, default=None, help=help_text)
            elif _kind(field) in _TYPES:
                metavar = field.metadata.get("choices")
                option = click.option(
                    flag, field.name, type=_TYPES[_kind(field)], metavar=metavar, help=help_text
                )
            else:
                option = click.option(flag, field.name, metavar="NAME,...", help=help_text)
            function = option(function)
        return function

    return decorate


def _sentence(field: dataclasses.Field[Any]) -> str:
    text = str(field.metadata["help"])
    if field.default is True:
        text = f"switch off {text}"
    # 0 equals False, but is a default worth mentioning.
    untold = isinstance(field.default, bool) or field.default in (None, ())
    default = "" if untold else f"  [default: {field.default}]"
    return f"{text[0].upper()}{text[1:]}.{default}"


def _filled(config: type[Config], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration class that the options set."""
    found: dict[str, Any] = {}
    for field in _fields(config):
        value = given.get(field.name)
        if value is None:
            continue
        if _kind(field) == "bool":
            value = not field.default
        elif _kind(field) == "tuple[str, ...]":
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        found[field.name] = value
    return found


@click.command(
    name="simulate",
    cls=Command,
    examples=(
        (
            "Serve an Organization of 1,000 accounts",
            "poolcensus simulate --port 4566 --accounts 1000 --seed 7",
        ),
        ("One that throttles a tenth of the calls", "poolcensus simulate --fault throttle:0.1"),
    ),
)
@_options(SimulatorConfig)
@_options(WorldConfig)
@_policy_options
@click.option(
    "--latency",
    metavar="MS",
    default="none",
    help="How long a call takes, in milliseconds: 50, exponential:50, uniform:20-200 or none."
    "  [default: none]",
)
@click.option(
    "--slow-fraction",
    type=number,
    default=0.0,
    help="Fraction of the accounts that are slower.  [default: 0.0]",
)
@click.option(
    "--slow-factor", type=number, default=10.0, help="How many times slower they are.  [default: 10.0]"
)
@_options(Limits)
@click.option(
    "--fault",
    "faults",
    metavar="RULE",
    multiple=True,
    help="Calls that go wrong: KIND[:PROBABILITY][,NAME=VALUE...], such as throttle:0.1 or "
    f"denied,policy=scp,region=eu-west-2,until=20. KIND is one of {', '.join(FaultKind)}.  [may be repeated]",
)
@click.option(
    "--json", "json_output", is_flag=True, help="Print address and credentials as one line of JSON."
)
@click.option("--until-eof", is_flag=True, hidden=True, help="Stop at the end of standard input.")
def command(
    *,
    latency: str,
    slow_fraction: float,
    slow_factor: float,
    faults: tuple[str, ...],
    json_output: bool,
    until_eof: bool,
    **given: Any,  # noqa: ANN401 - as many types as the simulator's fields have
) -> int:
    """Serve the local AWS simulator, until it is interrupted.

    An unmodified AWS CLI or SDK works with it, given its address and credentials in the environment.
    """
    try:
        config = SimulatorConfig(
            world=WorldConfig(policies=_policies(given), **_filled(WorldConfig, given)),
            latency=_latency(latency, slow_fraction, slow_factor),
            limits=Limits(**_filled(Limits, given)),
            faults=tuple(_fault(rule) for rule in faults),
            **_filled(SimulatorConfig, given),
        )
    except FieldError as error:
        option = f"--{error.field.replace('_', '-')}"
        raise click.UsageError(f"{option} {error.requirement}") from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if not config.host:
        # With an empty host, Python would listen on every interface.
        raise click.UsageError("--host needs an address, such as 127.0.0.1")
    if until_eof:
        threading.Thread(target=_stop_at_eof, daemon=True).start()
    _serve(config, _print_json if json_output else _print_text)
    return ExitCode.OK


def _serve(config: SimulatorConfig, on_ready: Callable[[Simulator], None]) -> None:
    listens = False

    def ready(simulator: Simulator) -> None:
        nonlocal listens
        listens = True
        on_ready(simulator)

    try:
        serve(config, on_ready=ready)
    except OSError as error:
        if listens:
            raise
        if error.errno == errno.EADDRINUSE:
            raise click.ClickException(
                f"Port {config.port} of {config.host} is in use. End the program that listens there, or"
                " choose another one with --port; 0 is any free one."
            ) from None
        # Python's own message repeats the address. Since 3.13, the error has no errno if none of the host's
        # addresses belongs to this machine.
        number = error.errno or errno.EADDRNOTAVAIL
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(number)
        raise click.ClickException(
            f"Can't listen on port {config.port} of {config.host}: {why}. Check --host and --port."
        ) from None


def _latency(text: str, slow_fraction: float, slow_factor: float) -> Latency:
    try:
        return Latency.parse(text, slow_fraction=slow_fraction, slow_factor=slow_factor)
    except ValueError as error:
        if isinstance(error, FieldError) and error.field.startswith("slow_"):
            raise
        shown = ascii(text)[1:-1]
        message = f'--latency: "{shown}" is not valid; use 50, exponential:50, uniform:20-200 or none.'
        raise ValueError(message) from None


def _fault(rule: str) -> Fault:
    try:
        fault = Fault.parse(rule)
    except ValueError as error:
        raise ValueError(f"--fault: {error}") from None
    if fault.service not in {"*", *SERVICES}:
        wanted = f"service must be * or one of {', '.join(SERVICES)}"
        raise ValueError(f"--fault: fault {fault.kind}: {wanted}, not {fault.service!r}")
    return fault


def _stop_at_eof() -> None:
    """End the process at the end of standard input, so when the process that started it is gone."""
    # By the descriptor: at exit, Python could not take the lock of sys.stdin from this thread.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _print_json(simulator: Simulator) -> None:
    from poolcensus.cli.output import write_line

    write_line(
        {
            "endpoint_url": simulator.endpoint_url,
            "access_key_id": simulator.access_key_id,
            "secret_access_key": simulator.secret_access_key,
        }
    )


def _print_text(simulator: Simulator) -> None:
    region = partitions()[simulator.config.world.partition].sts
    click.echo(
        f"export AWS_ENDPOINT_URL={simulator.endpoint_url}\n"
        f"export AWS_ACCESS_KEY_ID={simulator.access_key_id}\n"
        f"export AWS_SECRET_ACCESS_KEY={simulator.secret_access_key}\n"
        f"export AWS_REGION={region}\n"
        # boto3 and version 1 of the AWS CLI read only this one.
        f"export AWS_DEFAULT_REGION={region}\n"
        f"# {counted(simulator.config.world.accounts, 'account')}; Ctrl-C ends it"
    )
