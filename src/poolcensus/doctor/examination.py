"""Takes the steps of a census one after the other, and continues after a failure as far as possible."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from math import inf
from typing import Final

import anyio
import msgspec

from poolcensus.aws.session import CallerSession, open_caller, open_limiter
from poolcensus.config import Settings
from poolcensus.doctor.caller import caller_known, caller_unknown
from poolcensus.doctor.choice import ChoiceNames, check_choice
from poolcensus.doctor.destination import check_destination, destination_unreachable
from poolcensus.doctor.findings import Check, CheckStatus, Finding
from poolcensus.doctor.observation import observe
from poolcensus.doctor.operation import census_ended, operation_findings
from poolcensus.doctor.organization import accounts_listed, accounts_unknown
from poolcensus.doctor.principals import caller_in_words, role_of_accounts
from poolcensus.doctor.region_status import region_status_findings
from poolcensus.doctor.role import hub_finding, needs_role, role_findings
from poolcensus.engine.deadlines import NO_DEADLINE, Deadline
from poolcensus.errors import FatalError, HubRoleError, OrganizationError, SettingsError
from poolcensus.loops import require_asyncio
from poolcensus.model import Account, Caller
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.scope.joining import check_named, check_regions, naming
from poolcensus.scope.opening import (
    Opened,
    Prepared,
    Shared,
    check_accounts,
    check_any,
    open_run,
    prepare,
)
from poolcensus.storage.destination import check_resume
from poolcensus.storage.naming import is_in_s3
from poolcensus.streams import Outlet, Stream, StreamRuns

SAMPLE: Final = 5
"""The number of member accounts tried by default. Enough to tell a problem of one account from one of all."""

_BATCHES_BUFFERED: Final = 8
_SKIPPED: Final = {
    Check.ORGANIZATION: "Not tried: the caller is not known.",
    Check.ROLE: "Not tried: there is no account to try.",
    Check.OPERATION: "Not tried: there is no account to try.",
    Check.REGION_STATUS: "Not tried: there is no account to try.",
}


@asynccontextmanager
async def diagnose(
    settings: Settings,
    *,
    accounts: Iterable[str] = (),
    every_account: bool = False,
) -> AsyncIterator[Stream[Finding]]:
    """Try each permission that a census with these settings needs. Yield a stream of the findings.

    ```
    async with poolcensus.diagnose(settings, every_account=True) as findings:
        async for finding in findings:
            ...
    ```

    By default, tries the caller's account and five others, spread over the list. `accounts` chooses account
    IDs, and `every_account` all accounts. Each account is tried in every region of the settings. Nothing is
    published, and the destination is left as it was. The findings come in the order of the checks, by account
    and region. Several Organizations are checked one after the other, and the destination last.

    Raises SettingsError if both `accounts` and `every_account` are given, or if an ID is invalid. The stream
    raises SettingsError if the settings are wrong, and OrganizationError if one of `accounts` is not an
    account of the census. Leaving the context cancels the calls in flight.
    """
    require_asyncio()
    wanted = tuple(accounts)
    check_choice(wanted, every_account=every_account, names=ChoiceNames("`every_account`", "`accounts`"))
    examination = _Examination(settings, frozenset(wanted), every_account=every_account)
    async with StreamRuns() as streams:
        yield Stream(streams, examination.run, buffer=_BATCHES_BUFFERED)


class _Named:
    """Sends findings to an outlet, after adding the name of their Organization."""

    def __init__(self, outlet: Outlet[Finding], name: str | None) -> None:
        self._outlet = outlet
        self._name = name

    async def send(self, findings: tuple[Finding, ...]) -> None:
        if self._name is not None:
            findings = tuple(replace(each, organization=self._name) for each in findings)
        await self._outlet.send(findings)


class _Examination:
    def __init__(self, settings: Settings, wanted: frozenset[str], *, every_account: bool) -> None:
        self._settings = settings
        self._wanted = wanted
        self._every_account = every_account
        # The wanted accounts that are known to be accounts of the census.
        self._known: set[str] = set()
        self._accounts_listed = 0
        # Whether an Organization could not be queried, or has no account although it should have some.
        self._is_in_doubt = False
        self._deadline = NO_DEADLINE
        # Bounds the calls that are made before there are targets.
        self._asking = anyio.CancelScope()

    async def run(self, outlet: Outlet[Finding]) -> None:
        """Take every step and send its findings, for one Organization after the other.

        Raises DeadlineError if the deadline passes before the accounts are known.
        """
        check_resume(self._settings, self._settings.dest)
        self._deadline = Deadline.after(self._settings.deadline)
        with self._deadline.bounding("AWS told the accounts") as self._asking:
            await self._examine(outlet)

    async def _examine(self, outlet: Outlet[Finding]) -> None:
        async with AsyncExitStack() as stack:
            organizations = {
                name: await self._prepare(settings, name, stack)
                for name, settings in self._settings.by_organization().items()
            }
            # Shared, so that an account listed by two Organizations is found.
            shared = Shared(open_limiter(self._settings), tuple(self._settings.by_organization()))
            session: CallerSession | None = None
            caller: Caller | None = None
            all_opened: list[Opened] = []
            for name, prepared in organizations.items():
                named = _Named(outlet, name)
                self._asking.deadline = self._deadline.at
                with naming(name):
                    opened = await self._open(prepared, shared, name, stack, named)
                    if opened is not None:
                        all_opened.append(opened)
                        await self._accounts(opened, named)
                if opened is not None and isinstance(prepared, Prepared):
                    session, caller = prepared.session, opened.aws.caller
            self._asking.deadline = inf
            if not self._is_in_doubt:
                await self._check_all(all_opened, shared, outlet)
            if missing := sorted(self._wanted - self._known):
                raise OrganizationError(
                    f"{', '.join(missing)}: not among the accounts of the census.",
                    advice="Check the account IDs, `accounts` and `ous`.",
                )
            if self._settings.organization:
                found = await self._common_destination(stack)
            else:
                found = await check_destination(self._settings, session, caller)
            await outlet.send((found,))

    async def _check_all(self, opened: Sequence[Opened], shared: Shared, outlet: Outlet[Finding]) -> None:
        """Check that what the settings name for all Organizations exists in one of them.

        See `check_named`.
        """
        check_regions(opened)
        check_named(shared.listings)
        try:
            check_any(self._accounts_listed, opened, self._settings)
        except FatalError as error:
            await outlet.send((accounts_unknown(error, opened[0].aws.caller),))

    async def _common_destination(self, stack: AsyncExitStack) -> Finding:
        """Try whether the snapshot of several Organizations could be written.

        A bucket is accessed with the credentials of the settings outside of all tables.
        """
        session: CallerSession | None = None
        if is_in_s3(self._settings.dest):
            try:
                session = await stack.enter_async_context(open_caller(self._settings))
            except SettingsError:
                raise
            except FatalError as error:
                return destination_unreachable(error)
        return await check_destination(self._settings, session, None)

    async def _prepare(
        self, settings: Settings, name: str | None, stack: AsyncExitStack
    ) -> Prepared | FatalError:
        """Return what is read before the first call, or the error that says why there are no credentials."""
        with naming(name):
            try:
                # No region status of an earlier run: permissions may have changed since.
                asked = msgspec.structs.replace(settings, region_status_max_age=0.0)
                for_all = self._settings.narrowing_all(name)
                return await stack.enter_async_context(prepare(asked, None, for_all))
            except SettingsError:
                raise
            except FatalError as error:
                return error

    async def _open(
        self,
        prepared: Prepared | FatalError,
        shared: Shared,
        name: str | None,
        stack: AsyncExitStack,
        outlet: _Named,
    ) -> Opened | None:
        try:
            if isinstance(prepared, FatalError):
                raise prepared
            run = open_run(WORKSPACES_POOLS, prepared, shared, name=name)
            opened = await stack.enter_async_context(run)
        except SettingsError:
            raise
        except FatalError as error:
            await outlet.send((caller_unknown(error), *_not_tried(*_SKIPPED)))
            # The accounts are not known, so none of the wanted ones is reported as missing.
            self._known |= self._wanted
            self._is_in_doubt = True
            return None
        await outlet.send((caller_known(opened.aws.caller),))
        return opened

    async def _accounts(self, opened: Opened, outlet: _Named) -> None:
        caller = opened.aws.caller
        try:
            async with aclosing(opened.listing.accounts()) as batches:
                listed = [account async for batch in batches for account in batch]
            check_accounts(len(listed), opened)
            self._accounts_listed += len(listed)
        except SettingsError:
            raise
        except FatalError as error:
            await outlet.send((accounts_unknown(error, caller),))
            self._known |= self._wanted
            self._is_in_doubt = True
            # Try the named accounts, or the caller's own. With several Organizations, it is not known which
            # of them the named accounts belong to.
            named = self._wanted if opened.name is None else None
            chosen = [Account(each) for each in sorted(named or {caller.account_id})]
            others: list[Account] = []
        else:
            chosen = self._choose(listed, opened)
            ids = {each.id for each in chosen}
            others = [each for each in listed if each.id not in ids]
            found = accounts_listed(
                caller,
                from_organization=opened.listing.asks_organization,
                looked_at=len(chosen),
                accounts=len(listed),
                named=bool(self._wanted),
            )
            await outlet.send((found, *self._left_out(opened)))
        if not chosen or opened.lack is not None:
            await outlet.send(_not_tried(Check.ROLE, Check.OPERATION, Check.REGION_STATUS))
            return
        await self._targets(opened, tuple(chosen), others, outlet)

    async def _targets(
        self,
        opened: Opened,
        chosen: tuple[Account, ...],
        others: Sequence[Account],
        outlet: _Named,
    ) -> None:
        aws, settings = opened.aws, opened.settings
        # From here on, targets that exceed the deadline end with an outcome that says so.
        self._asking.deadline = inf
        try:
            try:
                observed = await observe(opened, settings, chosen, self._deadline)
            except HubRoleError as error:
                await outlet.send((hub_finding(aws, error),))
                # Accounts that need no role don't need the hub role either.
                rest = tuple(each for each in chosen if not needs_role(aws, each.id))
                observed = await observe(opened, settings, rest, self._deadline)
            await outlet.send(await role_findings(aws, observed, others))
        except SettingsError:
            raise
        except FatalError as error:
            await outlet.send((census_ended(error, WORKSPACES_POOLS),))
            return
        opt_in = frozenset(opened.regions.opt_in)
        for each in observed:
            await outlet.send(
                tuple(operation_findings(each, self._who(opened, each.account.id), WORKSPACES_POOLS, opt_in))
            )
        for each in observed:
            await outlet.send(tuple(region_status_findings(each, self._who(opened, each.account.id), opt_in)))

    def _choose(self, listed: list[Account], opened: Opened) -> list[Account]:
        if self._every_account:
            return listed
        if self._wanted:
            self._known |= {each.id for each in listed} | {each.id for each in opened.listing.skipped}
            return [each for each in listed if each.id in self._wanted]
        own = [each for each in listed if each.id == opened.aws.caller.account_id]
        others = [each for each in listed if each.id != opened.aws.caller.account_id]
        count = min(SAMPLE, len(others))
        return own + [others[at * len(others) // count] for at in range(count)]

    def _left_out(self, opened: Opened) -> tuple[Finding, ...]:
        """Return findings about accounts that were named, but that a census skips."""
        return tuple(
            Finding(
                check=Check.ROLE,
                status=CheckStatus.SKIPPED,
                account_id=each.id,
                message=f"A collect leaves the account out: {each.reason}.",
            )
            for each in opened.listing.skipped
            if each.id in self._wanted
        )

    def _who(self, opened: Opened, account_id: str) -> str:
        is_own = account_id == opened.aws.caller.account_id
        if is_own and not needs_role(opened.aws, account_id):
            return caller_in_words(opened.aws.caller.arn)
        if not needs_role(opened.aws, account_id):
            return "whoever the credentials of the account belong to"
        return f"role {role_of_accounts(opened.aws.broker.role_arn(account_id), account_id)} in the account"


def _not_tried(*checks: Check) -> tuple[Finding, ...]:
    return tuple(Finding(check=each, status=CheckStatus.SKIPPED, message=_SKIPPED[each]) for each in checks)
