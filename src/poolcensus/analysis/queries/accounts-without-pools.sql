-- Accounts without pools in the regions that a snapshot asked, by an answer from each.
SELECT
    account_id,
    any_value(account_name) AS account_name,
    count(DISTINCT region) AS regions,
    count(DISTINCT region) FILTER (WHERE outcome = 'empty') AS regions_listed,
    string_agg(DISTINCT outcome, ', ' ORDER BY outcome) AS outcomes
FROM targets
WHERE snapshot_id IN (
    -- A run that asked for some pools alone says nothing of the others.
    SELECT snapshot_id
    FROM snapshots
    WHERE coalesce(json_array_length(manifest, '$.request.pool_ids'), 0) = 0
        AND coalesce(json_array_length(manifest, '$.request.filters'), 0) = 0
)
GROUP BY account_id
HAVING sum(pools) = 0 AND bool_and(covered)
ORDER BY account_id
