-- Pools and their sessions by account, and how many of the sessions are in use.
SELECT
    account_id,
    any_value(account_name) AS account_name,
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
GROUP BY account_id
ORDER BY account_id
