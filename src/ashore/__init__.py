# SPDX-License-Identifier: Apache-2.0
"""ashore moves a Kubernetes node's network off the host and onto its DPU."""
