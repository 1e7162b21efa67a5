//! The workload's token file, read at each use. Whoever replaces it may be in the middle of that: what is no whole token
//! is a fault of the moment, and is not sent.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::fault::Fault;
use super::token_source::WorkloadToken;

/// Largest file: the service takes no larger token.
const MOST_BYTES: u64 = 64 * 1024;
/// How often a file that is not whole is read again within one exchange, and how long between: a writer needs less.
const READINGS: u32 = 4;
const BETWEEN: Duration = Duration::from_millis(50);

/// The path of a token file.
#[derive(Debug)]
pub struct TokenFile(PathBuf);

/// The part of a token that says whose it is. Nobody has checked it: it only keeps leases of two holders apart.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Holder {
    iss: String,
    sub: String,
}

impl TokenFile {
    /// The file at this path; it need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The token that the file holds now.
    pub(super) async fn read(&self) -> Result<WorkloadToken, Fault> {
        let mut why = "is empty";
        for reading in 0..READINGS {
            if reading > 0 {
                sleep(BETWEEN).await;
            }
            let text = self.text().await?;
            match str::from_utf8(&text).ok().map(str::trim_ascii) {
                Some("") => why = "is empty",
                Some(text) if is_whole(text) => match WorkloadToken::new(text) {
                    Some(token) => return Ok(token),
                    None => why = "holds characters that no token has",
                },
                Some(_) | None => why = "holds no whole token: three parts of base64url with dots between them",
            }
        }
        Err(self.fault(why))
    }

    /// At most [`MOST_BYTES`] of a regular file: a pipe would never end, or never begin.
    async fn text(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let unread = |error: std::io::Error| Fault::unread(&self.0, &error);
        if !tokio::fs::metadata(&self.0).await.map_err(unread)?.is_file() {
            return Err(self.fault("is no regular file"));
        }
        let file = tokio::fs::File::open(&self.0).await.map_err(unread)?;
        let mut text = Zeroizing::new(Vec::with_capacity(8192));
        file.take(MOST_BYTES + 1).read_to_end(&mut text).await.map_err(unread)?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MOST_BYTES) {
            return Err(self.fault("is larger than 64 KiB"));
        }
        Ok(text)
    }

    fn fault(&self, why: &str) -> Fault {
        Fault::File { path: self.0.clone(), why: why.to_owned() }
    }

    /// The path, and issuer and subject of the token in it.
    pub(super) async fn identity(&self) -> String {
        let holder = match self.read().await {
            Ok(token) => holder(token.expose()),
            Err(_) => Holder::default(),
        };
        format!("file {} {} {}", self.0.display(), holder.iss, holder.sub)
    }
}

/// Three parts, none of them empty, all base64url: what is cut off in the first two parts shows; what is cut off in the
/// signature, the service finds.
fn is_whole(text: &str) -> bool {
    let mut parts = text.split('.');
    let mut part = || parts.next().is_some_and(|part| !part.is_empty() && URL_SAFE_NO_PAD.decode(part).is_ok());
    let three = part() && part() && part();
    three && parts.next().is_none()
}

fn holder(token: &str) -> Holder {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).map(Zeroizing::new);
    claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJpIiwic3ViIjoicyJ9.c2ln";

    async fn read(content: &[u8]) -> Result<WorkloadToken, Fault> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, content).unwrap();
        TokenFile::new(path).read().await
    }

    fn why(read: Result<WorkloadToken, Fault>) -> String {
        read.unwrap_err().to_string().rsplit(": ").next().unwrap().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_is_read_without_its_newline() {
        for content in [TOKEN.to_owned(), format!("{TOKEN}\n"), format!(" {TOKEN}\r\n")] {
            assert_eq!(read(content.as_bytes()).await.unwrap().expose(), TOKEN);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_whole_token_is_never_sent() {
        for content in ["", "\n", " \n\n"] {
            assert_eq!(why(read(content.as_bytes()).await), "is empty");
        }
        let cut = &TOKEN[..30];
        for content in
            [cut, "eyJhbGciOiJSUzI1NiJ9.", "a.b", "a..c", "...", "aaaa.bbbb.cccc.dddd", "se cret.a.b", "\u{fffd}"]
        {
            assert!(read(content.as_bytes()).await.is_err(), "{content:?}");
        }
        assert!(read(&[0xff, 0xfe]).await.is_err());
        assert_eq!(why(read(&vec![b'a'; 70_000]).await), "is larger than 64 KiB");
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_file_a_directory_and_a_pipe_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let missing = TokenFile::new(directory.path().join("token")).read().await;
        assert_eq!(why(missing), "there is no such file");
        assert_eq!(why(TokenFile::new(directory.path().to_owned()).read().await), "is no regular file");
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(why(TokenFile::new(pipe).read().await), "is no regular file");
    }

    #[tokio::test(start_paused = true)]
    async fn the_identity_names_the_holder_and_nothing_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, TOKEN).unwrap();
        let identity = TokenFile::new(path.clone()).identity().await;
        assert_eq!(identity, format!("file {} i s", path.display()));
    }

    #[test]
    fn a_fault_shows_no_content() {
        let fault = TokenFile::new("/x".into()).fault("is empty");
        assert_eq!(fault.to_string(), "/x: is empty");
    }
}
