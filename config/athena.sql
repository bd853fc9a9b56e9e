-- Athena tables over what `poolcensus export --all --output DIR` writes and `aws s3 sync DIR s3://BUCKET/PREFIX`
-- puts into a bucket: replace BUCKET/PREFIX, and run the statements one after the other.
--
-- Partitions are projected from the dates: there is no crawler to run and no partition to add. Begin the range with
-- your first snapshot; a query reads the dates that its WHERE names. JSON is text: json_extract_scalar(pool, '$.State').

CREATE EXTERNAL TABLE poolcensus_pools (
  `snapshot_id` string COMMENT 'ID of the snapshot',
  `collected_at` timestamp COMMENT 'when the page was received',
  `partition` string COMMENT 'partition: aws, aws-cn, aws-us-gov',
  `account_id` string COMMENT '12 digits of the account',
  `account_name` string COMMENT 'name of the account',
  `organization` string COMMENT 'what the settings call its Organization, in a run of several',
  `ou_path` string COMMENT 'place in the Organization, if the run asked for it',
  `account_tags` string COMMENT 'tags of the account, if the run asked for them',
  `region` string COMMENT 'region',
  `pool_id` string COMMENT 'ID of the pool',
  `pool_name` string COMMENT 'name of the pool',
  `pool_arn` string COMMENT 'ARN of the pool',
  `state` string COMMENT 'CREATING, RUNNING, STOPPED, …',
  `description` string COMMENT 'description of the pool',
  `running_mode` string COMMENT 'AUTO_STOP or ALWAYS_ON',
  `created_at` timestamp COMMENT 'when the pool was created',
  `bundle_id` string COMMENT 'ID of the bundle',
  `directory_id` string COMMENT 'ID of the directory',
  `desired_user_sessions` bigint COMMENT 'sessions that run or are pending',
  `available_user_sessions` bigint COMMENT 'sessions that nobody uses',
  `actual_user_sessions` bigint COMMENT 'sessions that are available or in use',
  `active_user_sessions` bigint COMMENT 'sessions in use',
  `application_settings_status` string COMMENT 'whether application settings persist: ENABLED or DISABLED',
  `settings_group` string COMMENT 'path prefix in the bucket',
  `s3_bucket_name` string COMMENT 'bucket of persistent application settings',
  `disconnect_timeout_in_seconds` bigint COMMENT 'how long a session lives after a disconnection',
  `idle_disconnect_timeout_in_seconds` bigint COMMENT 'how long a connection may be idle',
  `max_user_duration_in_seconds` bigint COMMENT 'the longest time of a session',
  `errors` string COMMENT 'errors of the pool',
  `pool` string COMMENT 'the whole pool, as the service answered it'
)
PARTITIONED BY (`date` string)
STORED AS PARQUET
LOCATION 's3://BUCKET/PREFIX/pools/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.date.type' = 'date',
  'projection.date.format' = 'yyyy-MM-dd',
  'projection.date.range' = '2026-01-01,NOW',
  'projection.date.interval' = '1',
  'projection.date.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://BUCKET/PREFIX/pools/date=${date}'
);

CREATE EXTERNAL TABLE poolcensus_targets (
  `snapshot_id` string COMMENT 'ID of the snapshot',
  `account_id` string COMMENT '12 digits of the account',
  `account_name` string COMMENT 'name of the account',
  `organization` string COMMENT 'what the settings call its Organization, in a run of several',
  `ou_path` string COMMENT 'place in the Organization, if the run asked for it',
  `account_tags` string COMMENT 'tags of the account, if the run asked for them',
  `region` string COMMENT 'region',
  `operation` string COMMENT 'IAM action that was called',
  `outcome` string COMMENT 'how the target ended',
  `covered` boolean COMMENT 'whether the census knows its pools',
  `pools` bigint COMMENT 'number of pools',
  `pages` bigint COMMENT 'pages that were read',
  `attempts` bigint COMMENT 'calls that were sent',
  `throttles` bigint COMMENT 'calls that were throttled',
  `seconds` double COMMENT 'from the first call to the end',
  `error_code` string COMMENT 'error code of the service',
  `error_message` string COMMENT 'message of the service',
  `request_id` string COMMENT 'request ID of the service'
)
PARTITIONED BY (`date` string)
STORED AS PARQUET
LOCATION 's3://BUCKET/PREFIX/targets/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.date.type' = 'date',
  'projection.date.format' = 'yyyy-MM-dd',
  'projection.date.range' = '2026-01-01,NOW',
  'projection.date.interval' = '1',
  'projection.date.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://BUCKET/PREFIX/targets/date=${date}'
);
