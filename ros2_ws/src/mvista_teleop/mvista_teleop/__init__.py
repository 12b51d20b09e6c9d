"""A leader arm moves a follower arm: mapped joint by joint, limited, and gated by the operator."""
