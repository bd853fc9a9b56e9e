variable "caller_principal" {
  description = "Who may assume the role: the ARN of the caller's role or user, or an account ID to leave it to that account."
  type        = string

  validation {
    condition     = can(regex("^([0-9]{12}|arn:aws(-[a-z]+)*:iam::[0-9]{12}:(root|(role|user)/[A-Za-z0-9_+=,.@/-]+))$", var.caller_principal))
    error_message = "Must be the ARN of an IAM role or user, not of a session, or an account ID."
  }
}

variable "role_name" {
  description = "The name of the role, the same in every account (--role-name)."
  type        = string
  default     = "PoolCensusReader"
}

variable "external_id" {
  description = "The external ID that the caller has to give (--external-id-file); null for none."
  type        = string
  default     = null
  sensitive   = true

  validation {
    # A regex can't count beyond 1000.
    condition     = var.external_id == null ? true : can(regex("^[A-Za-z0-9_+=,.@:/-]{2,}$", var.external_id)) && length(var.external_id) <= 1224
    error_message = "Must be 2 to 1224 letters, digits or any of _+=,.@:/-, with no line break at the end, or null for none."
  }
}

variable "max_session_duration" {
  description = "The longest session of the role in seconds (--session-duration)."
  type        = number
  default     = 3600

  validation {
    condition     = var.max_session_duration >= 3600 && var.max_session_duration <= 43200
    error_message = "Must be between 3600 and 43200."
  }
}

variable "permissions_boundary" {
  description = "The name of the policy, with its path, that is the role's permissions boundary in each account; null for none."
  type        = string
  default     = null
}

variable "create_role" {
  description = "Whether to make the role in the provider's account. The caller's own account needs none."
  type        = bool
  default     = true
}

variable "caller_policy_name" {
  description = "The name of the caller's policy, made in the provider's account; null for none."
  type        = string
  default     = null
}

variable "create_stack_set" {
  description = "Whether to make the role in the member accounts, by a service-managed StackSet. China has none."
  type        = bool
  default     = false
}

variable "organizational_unit_ids" {
  description = "The OUs whose accounts get the role, with those below them; empty for the root, which is all."
  type        = list(string)
  default     = []
}

variable "call_as" {
  description = "SELF in the management account, DELEGATED_ADMIN in that of a delegated administrator for StackSets."
  type        = string
  default     = "SELF"

  validation {
    condition     = contains(["SELF", "DELEGATED_ADMIN"], var.call_as)
    error_message = "Must be SELF or DELEGATED_ADMIN."
  }
}

variable "stack_set_region" {
  description = "The region of the stacks; null for the provider's. A role is global, so one is enough."
  type        = string
  default     = null
}
