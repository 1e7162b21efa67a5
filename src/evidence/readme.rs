//! The bundle's own explanation, for an auditor who has never seen the project.

/// `README.txt`
pub(super) const TEXT: &str = "\
EVIDENCE FROM AN ISSUANCE LOG (stint)

What is here
  events.jsonl            the events, one per line, byte for byte as they were sealed (RFC 8785 canonical JSON)
  seals.jsonl             one line per commit: the signed statement, the hash of each of its events, the signature
  keys/<key id>.pem       public keys that sealed. They come from the same place as the log: compare them with the ones
                          you were given by another way. The key id is the SHA-256 of the key in DER
  events.csv              the same events for a spreadsheet. Cells that begin with = + - @ or a control character have an
                          apostrophe in front, so that nothing in them is run; lists are JSON
  events.parquet          the same events with typed columns
  policy_sets.jsonl       the policy files in force, under the hash that events name
  session_policies.jsonl  the policies sent to the object server, under the SHA-256 that events name
  checkpoint.json         where the whole log stood when this was made, signed
  manifest.json           SHA-256 and length of each file, and where each stream ends in this bundle
  manifest.sig            an Ed25519 signature over manifest.json, where a signing key was configured
Only the formats that were asked for are here. The events and seals prove themselves; the tables and policy texts are as
good as the signed manifest. If manifest.json says \"partial\": true this is a part of the log: what is here is whole, what
is not here is not spoken of.

Check it with stint, on any machine, without a network
  stint audit verify --bundle . --key the-key-you-were-given.pem

Check it by hand
  sha256sum events.jsonl seals.jsonl                                    compare with manifest.json
  openssl pkey -pubin -in keys/ID.pem -outform DER | sha256sum          is the key's name
  openssl pkeyutl -verify -pubin -inkey KEY.pem -rawin -in manifest.json -sigfile manifest.sig

  One seal (here the first line); jq -S writes the members in order:
  head -n 1 seals.jsonl | jq -cjS .statement > statement
  head -n 1 seals.jsonl | jq -r .signature | xxd -r -p > signature
  openssl pkeyutl -verify -pubin -inkey KEY.pem -rawin -in statement -sigfile signature

  The hash of an event is SHA-256 of a zero byte and the line without its end:
  (printf '\\0'; sed -n 1p events.jsonl | tr -d '\\n') | sha256sum        is the first of the seal's leaves
  The root is their Merkle tree hash (RFC 6962 section 2.1), and `previous` is the SHA-256 of the statement before.
";
