-- Pools that report errors, which the service does not show as a state.
SELECT
    account_id,
    account_name,
    region,
    pool_id,
    pool_name,
    state,
    array_to_string(json_extract_string(errors, '$[*].ErrorCode'), ', ') AS error_codes
FROM pools
WHERE json_array_length(errors) > 0
ORDER BY account_id, region, pool_id
