-- Pools that were added, removed or changed in the last seven days, and targets where nobody can say.
-- over: 7 days
SELECT
    finished_at,
    change,
    account_id,
    account_name,
    region,
    pool_id,
    coalesce(reason, array_to_string(json_keys(fields), ', ')) AS what
FROM changes
WHERE NOT expected -- known gaps of both runs
ORDER BY finished_at, change = 'unknown', account_id, region, pool_id
