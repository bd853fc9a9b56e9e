output "role_arn" {
  description = "The role in the provider's account; null where there is none."
  value       = one(aws_iam_role.reader[*].arn)
}

output "caller_policy_arn" {
  description = "The policy to attach to whoever takes the census; null where there is none."
  value       = one(aws_iam_policy.caller[*].arn)
}
