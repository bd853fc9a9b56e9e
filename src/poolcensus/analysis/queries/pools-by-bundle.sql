-- Bundles, and the pools, accounts and regions that use each.
SELECT
    bundle_id,
    count(*) AS pools,
    count(DISTINCT account_id) AS accounts,
    count(DISTINCT region) AS regions,
    string_agg(DISTINCT state, ', ' ORDER BY state) AS states
FROM pools
GROUP BY bundle_id
ORDER BY pools DESC, bundle_id
