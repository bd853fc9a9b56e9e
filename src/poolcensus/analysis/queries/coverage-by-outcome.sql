-- Targets by how they ended, and whether that covers them.
SELECT
    outcome,
    covered,
    count(*) AS targets,
    count(DISTINCT account_id) AS accounts,
    CASE WHEN covered THEN sum(pools)::BIGINT END AS pools
FROM targets
GROUP BY outcome, covered
ORDER BY covered, targets DESC, outcome
