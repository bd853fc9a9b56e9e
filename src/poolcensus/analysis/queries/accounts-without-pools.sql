-- Accounts that have no pools, by an answer from each of their regions.
SELECT
    account_id,
    any_value(account_name) AS account_name,
    count(DISTINCT region) AS regions,
    string_agg(DISTINCT outcome, ', ' ORDER BY outcome) AS outcomes
FROM targets
GROUP BY account_id
HAVING sum(pools) = 0 AND bool_and(covered)
ORDER BY account_id
