//! The steps of an exchange, by the names that spans and histograms share.

/// The steps of an exchange, as spans and histograms name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Token verification, key fetches included.
    Verify,
    /// Policy.
    Decide,
    /// The lease's length, names and session policy.
    Plan,
    /// The commit that a lease is handed out again.
    Reuse,
    /// The intent commit.
    Intend,
    /// The object server.
    Mint,
    /// The credential tried before it is handed out.
    SelfTest,
    /// The outcome or refusal commit.
    Conclude,
}

impl Step {
    /// The span of this step.
    #[must_use]
    pub fn span(self) -> tracing::Span {
        match self {
            Self::Verify => tracing::info_span!("token.verify"),
            Self::Decide => tracing::info_span!("policy.decide"),
            Self::Plan => tracing::info_span!("lease.plan"),
            Self::Reuse => tracing::info_span!("audit.reuse"),
            Self::Intend => tracing::info_span!("audit.intend"),
            Self::Mint => tracing::info_span!("object_server.assume_role"),
            Self::SelfTest => tracing::info_span!("object_server.self_test"),
            Self::Conclude => tracing::info_span!("audit.conclude"),
        }
    }

    /// The value of the label `step`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Decide => "decide",
            Self::Plan => "plan",
            Self::Reuse => "reuse",
            Self::Intend => "intend",
            Self::Mint => "mint",
            Self::SelfTest => "self_test",
            Self::Conclude => "conclude",
        }
    }
}
