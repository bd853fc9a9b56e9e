-- Pools that no snapshot saw in use. Each snapshot shows one moment: nobody looked between them.
-- over: all
WITH seen AS (
    SELECT
        account_id,
        region,
        pool_id,
        count(active_user_sessions) AS snapshots,
        min(collected_at) AS first_seen,
        max(collected_at) AS last_seen,
        max(snapshot_id) AS last_snapshot,
        -- As one value: what the last record does not have is not taken from one before.
        arg_max(
            {'pool_name': pool_name, 'state': state, 'desired_user_sessions': desired_user_sessions},
            (collected_at, snapshot_id)
        ) AS last_record,
        arg_max(account_name, collected_at) AS account_name,
        max(active_user_sessions) AS most_active
    FROM pools
    GROUP BY account_id, region, pool_id
),
-- A pool is still there unless a later snapshot lists its target without it. A disabled region lists nothing and keeps
-- its pools; a run that asked for some pools alone says nothing of the others.
newest AS (
    SELECT account_id, region, max(snapshot_id) AS listed_last
    FROM targets JOIN snapshots USING (snapshot_id)
    WHERE targets.outcome IN ('ok', 'empty')
        AND coalesce(json_array_length(manifest, '$.request.pool_ids'), 0) = 0
        AND coalesce(json_array_length(manifest, '$.request.filters'), 0) = 0
    GROUP BY account_id, region
)
SELECT
    account_id,
    account_name,
    region,
    pool_id,
    last_record.pool_name,
    last_record.state,
    last_record.desired_user_sessions,
    snapshots,
    first_seen,
    last_seen
FROM seen LEFT JOIN newest USING (account_id, region)
WHERE most_active = 0 AND last_snapshot >= coalesce(listed_last, '')
ORDER BY account_id, region, pool_id
