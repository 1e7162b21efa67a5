//! Whether PostgreSQL answers at all, asked over a connection of its own: what an emergency is judged by. In doubt it
//! does: a pool that is exhausted, a password that is wrong or a server that is full is not a server that is down; nor is one
//! that cannot be reached because something ran out here.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use super::{PostgresError, schema};
use crate::own_side;

/// The class of SQLSTATE of a server that shuts down, crashes, starts or recovers: `57P01` to `57P03`.
const NOT_SERVING: &str = "57P0";

/// Asks one server, whether or not the service could ever connect to it.
pub struct PostgresReach {
    options: PgConnectOptions,
    within: Duration,
}

impl PostgresReach {
    /// Connects to nothing yet. A probe is done within `within`.
    pub fn new(url: &SecretString, within: Duration) -> Result<Self, PostgresError> {
        Ok(Self { options: schema::options(url)?, within })
    }

    /// One probe.
    pub async fn answers(&self) -> bool {
        match timeout(self.within, self.ask()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => !is_silence(&error) || !own_side::has_descriptors(),
            Err(_elapsed) => !own_side::has_descriptors(),
        }
    }

    async fn ask(&self) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        connection.ping().await?;
        // That it is closed politely is no part of the answer.
        let _ = connection.close().await;
        Ok(())
    }
}

impl fmt::Debug for PostgresReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresReach([redacted])")
    }
}

fn is_silence(error: &sqlx::Error) -> bool {
    if let Some(refusal) = error.as_database_error() {
        return refusal.code().is_some_and(|code| code.starts_with(NOT_SERVING));
    }
    // TLS: refused in so many words, not to our liking, or not possible with what is configured here.
    matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) && !own_side::is_ours(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(port: u16) -> PostgresReach {
        let url = SecretString::from(format!("postgres://u:planted-secret@127.0.0.1:{port}/d?sslmode=disable"));
        PostgresReach::new(&url, Duration::from_secs(2)).unwrap()
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_at_and_one_that_says_nothing_do_not_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!reach(port).answers().await, "connected, and then silent");
        drop(listener);
        assert!(!reach(port).answers().await, "refused");
    }

    #[tokio::test]
    async fn a_server_that_refuses_answers_and_one_that_starts_up_does_not() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        for (code, answers) in [("53300", true), ("28P01", true), ("3D000", true), ("57P03", false), ("57P01", false)] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let reach = reach(listener.local_addr().unwrap().port());
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut startup = [0; 4];
                stream.read_exact(&mut startup).await.unwrap();
                let fields = format!("SFATAL\0VFATAL\0C{code}\0Mno\0\0");
                let length = u32::try_from(fields.len() + 4).unwrap();
                let answer = [&b"E"[..], &length.to_be_bytes(), fields.as_bytes()].concat();
                stream.write_all(&answer).await.unwrap();
                stream
            };
            let (_stream, answered) = tokio::join!(server, reach.answers());
            assert_eq!(answered, answers, "{code}");
        }
    }

    #[test]
    fn a_connection_that_could_not_be_made_for_want_of_descriptors_says_nothing_of_the_server() {
        let silent = |code| is_silence(&sqlx::Error::Io(std::io::Error::from_raw_os_error(code)));
        assert!(silent(111), "refused: the near twin");
        for code in [12, 23, 24, 99, 105] {
            assert!(!silent(code), "{code}");
        }
        assert!(!is_silence(&sqlx::Error::Tls("server does not support TLS".into())), "it said so");
    }

    #[test]
    fn it_does_not_show_the_password() {
        assert_eq!(format!("{:?}", reach(1)), "PostgresReach([redacted])");
    }
}
