-- Pools and their sessions by region, and how many of the sessions are in use.
SELECT
    region,
    count(*) AS pools,
    sum(desired_user_sessions)::BIGINT AS desired,
    sum(actual_user_sessions)::BIGINT AS actual,
    sum(available_user_sessions)::BIGINT AS available,
    sum(active_user_sessions)::BIGINT AS active,
    -- Of pools that tell both: a share of others' sessions is none.
    round(
        100 * sum(active_user_sessions) FILTER (WHERE actual_user_sessions IS NOT NULL)
        / nullif(sum(actual_user_sessions) FILTER (WHERE active_user_sessions IS NOT NULL), 0),
        1
    ) AS active_percent
FROM pools
GROUP BY region
ORDER BY region
