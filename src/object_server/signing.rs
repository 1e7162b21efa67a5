//! AWS Signature Version 4, as the object servers want it for their STS.
