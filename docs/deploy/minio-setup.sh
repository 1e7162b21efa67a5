#!/usr/bin/env bash
# Prepares a MinIO for stint: private buckets and the parent user. Applies, reads back, fails loudly; can run again.
# Wants MINIO_ENDPOINT, MINIO_ROOT_USER, MINIO_ROOT_PASSWORD, STINT_PARENT_SECRET, and mc.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
parent=stint-parent
export MC_CONFIG_DIR=${MC_CONFIG_DIR:-/tmp/mc}

mc --quiet alias set server "$MINIO_ENDPOINT" "$MINIO_ROOT_USER" "$MINIO_ROOT_PASSWORD" >/dev/null

for bucket in recordings textures assets exports backups; do
  mc --quiet mb --ignore-existing "server/$bucket"
  mc --quiet anonymous set none "server/$bucket" >/dev/null
  access=$(mc --json anonymous get "server/$bucket")
  if [[ $access != *'"permission":"private"'* && $access != *'"permission": "private"'* ]]; then
    echo "bucket $bucket is not private: $access" >&2
    exit 1
  fi
  echo "bucket $bucket: private"
done

# `user add` on a user who is there sets the secret anew: this is also how the secret is rotated.
mc --quiet admin user add server "$parent" "$STINT_PARENT_SECRET" >/dev/null
mc --quiet admin policy create server "$parent" "$here/parent-policy.json" >/dev/null
if ! mc --json admin user info server "$parent" | grep -q "\"policyName\":[[:space:]]*\"$parent\""; then
  mc --quiet admin policy attach server "$parent" --user "$parent" >/dev/null
fi
mc --json admin user info server "$parent" | grep -q "\"policyName\":[[:space:]]*\"$parent\"" || {
  echo "user $parent does not have the policy $parent" >&2
  exit 1
}
echo "user $parent: policy attached"

# The one thing that must never work, tried.
mc --quiet alias set parent "$MINIO_ENDPOINT" "$parent" "$STINT_PARENT_SECRET" >/dev/null
if mc --quiet admin accesskey create parent >/dev/null 2>&1; then
  echo "user $parent can make access keys: its policy has lost the Deny; remove the key that was just made" >&2
  exit 1
fi
echo "user $parent: cannot make access keys"
