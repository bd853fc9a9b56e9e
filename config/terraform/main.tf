# The role of the census and the caller's policy, as config/cloudformation makes them. In the caller's account:
#
#   module "poolcensus" {
#     source             = "./config/terraform"
#     caller_principal   = "arn:aws:iam::111122223333:role/PoolCensus"
#     caller_policy_name = "PoolCensusCaller"
#     create_role        = false
#     create_stack_set   = true
#   }
#
# StackSets leave out the management account. Where the caller is of another account, use the module once more in the
# management account, with caller_principal and external_id alone.

data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

data "aws_iam_policy_document" "trust" {
  statement {
    sid     = "AssumeRole"
    effect  = "Allow"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = [var.caller_principal]
    }

    dynamic "condition" {
      # Whether there is an external ID is no secret, and a sensitive value can't be iterated over.
      for_each = nonsensitive(var.external_id == null) ? [] : ["ExternalId"]

      content {
        test     = "StringEquals"
        variable = "sts:ExternalId"
        values   = [var.external_id]
      }
    }
  }

  # For --source-identity and --session-tag. Alone they open no session.
  statement {
    sid     = "MarkSession"
    effect  = "Allow"
    actions = ["sts:SetSourceIdentity", "sts:TagSession"]

    principals {
      type        = "AWS"
      identifiers = [var.caller_principal]
    }
  }
}

resource "aws_iam_role" "reader" {
  count = var.create_role ? 1 : 0

  name                 = var.role_name
  description          = "Read by the census of Amazon WorkSpaces Pools"
  max_session_duration = var.max_session_duration
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary == null ? null : format(
    "arn:%s:iam::%s:policy/%s",
    data.aws_partition.current.partition,
    data.aws_caller_identity.current.account_id,
    var.permissions_boundary
  )
}

resource "aws_iam_role_policy" "census" {
  count = var.create_role ? 1 : 0

  name   = "Census"
  role   = aws_iam_role.reader[0].name
  policy = file("${path.module}/../iam/member-policy.json")
}

resource "aws_iam_policy" "caller" {
  count = var.caller_policy_name == null ? 0 : 1

  name        = var.caller_policy_name
  description = "Takes the census of Amazon WorkSpaces Pools"
  policy = replace(
    file("${path.module}/../iam/caller-policy.json"),
    "arn:aws:iam::*:role/PoolCensusReader",
    "arn:${data.aws_partition.current.partition}:iam::*:role/${var.role_name}"
  )
}

data "aws_organizations_organization" "current" {
  count = var.create_stack_set && length(var.organizational_unit_ids) == 0 ? 1 : 0
}

resource "aws_cloudformation_stack_set" "reader" {
  count = var.create_stack_set ? 1 : 0

  name             = "poolcensus"
  description      = "The role by which a census of Amazon WorkSpaces Pools reads an account"
  permission_model = "SERVICE_MANAGED"
  call_as          = var.call_as
  capabilities     = ["CAPABILITY_NAMED_IAM"]
  # CloudFormation would show a NoEcho parameter as asterisks, which Terraform would take for its value and send with
  # the next change. The external ID is in Terraform's state anyhow; DescribeStackSet then shows it too.
  template_body = replace(file("${path.module}/../cloudformation/stackset.yaml"), "NoEcho: true", "NoEcho: false")

  parameters = {
    CallerPrincipal     = var.caller_principal
    RoleName            = var.role_name
    ExternalId          = var.external_id == null ? "" : var.external_id
    MaxSessionDuration  = tostring(var.max_session_duration)
    PermissionsBoundary = var.permissions_boundary == null ? "" : var.permissions_boundary
  }

  auto_deployment {
    enabled                          = true
    retain_stacks_on_account_removal = false
  }

  # Without them an update takes one account after the other, and ends at the first that fails.
  operation_preferences {
    failure_tolerance_percentage = 100
    max_concurrent_percentage    = 100
  }

  # The provider waits for half an hour otherwise, which is short for thousands of accounts.
  timeouts {
    update = "6h"
  }
}

resource "aws_cloudformation_stack_set_instance" "members" {
  count = var.create_stack_set ? 1 : 0

  stack_set_name            = aws_cloudformation_stack_set.reader[0].name
  call_as                   = var.call_as
  stack_set_instance_region = var.stack_set_region

  deployment_targets {
    organizational_unit_ids = length(var.organizational_unit_ids) > 0 ? var.organizational_unit_ids : [
      data.aws_organizations_organization.current[0].roots[0].id
    ]
  }

  operation_preferences {
    failure_tolerance_percentage = 100
    max_concurrent_percentage    = 100
  }

  timeouts {
    create = "6h"
    update = "6h"
    delete = "6h"
  }
}
