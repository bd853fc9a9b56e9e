-- Pools that no snapshot saw in use. Each snapshot shows one moment: nobody looked between them.
-- over: all
WITH seen AS (
    SELECT
        account_id,
        region,
        pool_id,
        count(*) AS snapshots,
        min(collected_at) AS first_seen,
        max(collected_at) AS last_seen,
        max(snapshot_id) AS last_snapshot,
        arg_max(account_name, collected_at) AS account_name,
        arg_max(pool_name, collected_at) AS pool_name,
        arg_max(state, collected_at) AS state,
        arg_max(desired_user_sessions, collected_at) AS desired_user_sessions,
        max(active_user_sessions) AS most_active
    FROM pools
    GROUP BY account_id, region, pool_id
),
-- A pool is still there unless a later snapshot covers its target without it. A run that asked for some pools alone says
-- nothing of the others.
newest AS (
    SELECT account_id, region, max(snapshot_id) AS covered_last
    FROM targets JOIN snapshots USING (snapshot_id)
    WHERE targets.covered
        AND coalesce(json_array_length(manifest, '$.request.pool_ids'), 0) = 0
        AND coalesce(json_array_length(manifest, '$.request.filters'), 0) = 0
    GROUP BY account_id, region
)
SELECT
    account_id, account_name, region, pool_id, pool_name, state, desired_user_sessions, snapshots, first_seen, last_seen
FROM seen LEFT JOIN newest USING (account_id, region)
WHERE most_active = 0 AND last_snapshot >= coalesce(covered_last, '')
ORDER BY account_id, region, pool_id
