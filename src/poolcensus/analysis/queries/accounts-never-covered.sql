-- Accounts of which no snapshot covers any region, with what was said last.
-- over: all
SELECT
    account_id,
    arg_max(account_name, snapshot_id) AS account_name,
    count(DISTINCT snapshot_id) AS snapshots,
    count(DISTINCT region) AS regions,
    arg_max(outcome, snapshot_id) AS last_outcome,
    arg_max(error_code, snapshot_id) AS last_error_code,
    arg_max(error_message, snapshot_id) AS last_error_message
FROM targets
GROUP BY account_id
HAVING NOT bool_or(covered)
ORDER BY account_id
