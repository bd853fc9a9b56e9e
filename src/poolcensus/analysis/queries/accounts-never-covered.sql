-- Accounts that no snapshot tells anything of, in any region, with what was said last.
-- over: all
WITH newest AS (
    -- One line of the ledger, so that an outcome stands beside its own error.
    SELECT DISTINCT ON (account_id) account_id, outcome, error_code, error_message
    FROM targets
    WHERE NOT covered
    ORDER BY account_id, snapshot_id DESC, region
)
SELECT
    account_id,
    arg_max(account_name, snapshot_id) AS account_name,
    count(DISTINCT snapshot_id) AS snapshots,
    count(DISTINCT region) AS regions,
    newest.outcome AS last_outcome,
    newest.error_code AS last_error_code,
    newest.error_message AS last_error_message
FROM targets JOIN newest USING (account_id)
GROUP BY account_id, newest.outcome, newest.error_code, newest.error_message
-- That a region is disabled, as most are that have to be enabled, says nothing of the others.
HAVING NOT bool_or(covered AND targets.outcome NOT IN ('region_disabled', 'region_unsupported'))
ORDER BY account_id
