//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), from stored verifiers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use epoch_adapter::{Error, Result, sqlstate};
use hmac::{Hmac, Mac};
use rand::RngCore;
use sha2::{Digest, Sha256};

/// The name of the mechanism.
pub const MECHANISM: &str = "SCRAM-SHA-256";
const ITERATIONS: u32 = 4096;

/// What a server keeps of a password: `SCRAM-SHA-256$4096:salt$stored:server`.
#[derive(Clone)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
    /// Of nobody: no proof is right.
    mock: bool,
}

impl Verifier {
    /// Reads PostgreSQL's form of a verifier. The error doesn't quote it.
    pub fn parse(text: &str) -> Result<Self> {
        Self::try_parse(text).ok_or_else(|| {
            Error::new(sqlstate::CONFIG_FILE_ERROR, "invalid SCRAM verifier")
                .with_hint("Make one with: epoch user add NAME")
        })
    }

    fn try_parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(MECHANISM)?.strip_prefix('$')?;
        let (parameters, keys) = rest.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        Some(Self {
            iterations: iterations.parse().ok().filter(|n| *n > 0)?,
            salt: BASE64.decode(salt).ok()?,
            stored_key: BASE64.decode(stored).ok()?.try_into().ok()?,
            server_key: BASE64.decode(server).ok()?.try_into().ok()?,
            mock: false,
        })
    }

    /// A verifier for a password, with a random salt.
    pub fn from_password(password: &str) -> String {
        // PostgreSQL's own client code, so that SASLprep is the clients'.
        postgres_protocol::password::scram_sha_256(password.as_bytes())
    }

    /// A verifier that no password fits, with a salt that stays the same for a name: a caller can't
    /// tell an unknown user from a wrong password.
    pub fn mock(secret: &[u8; 32], user: &str) -> Self {
        let salt = hmac(secret, user.as_bytes()).into_iter().take(16).collect();
        Self { iterations: ITERATIONS, salt, stored_key: [0; 32], server_key: [0; 32], mock: true }
    }
}

/// One exchange.
pub struct Exchange {
    verifier: Verifier,
    gs2_header: String,
    client_first_bare: String,
    nonce: String,
    server_first: String,
}

fn malformed(detail: &str) -> Error {
    Error::new(sqlstate::PROTOCOL_VIOLATION, "malformed SCRAM message").with_detail(detail)
}

fn failed() -> Error {
    Error::new(sqlstate::INVALID_PASSWORD, "password authentication failed")
}

impl Exchange {
    /// Takes the client's first message; returns the exchange and the answer.
    pub fn start(verifier: Verifier, client_first: &[u8]) -> Result<(Self, String)> {
        let mut nonce = [0; 18];
        rand::rng().fill_bytes(&mut nonce);
        Self::start_with_nonce(verifier, client_first, &BASE64.encode(nonce))
    }

    fn start_with_nonce(verifier: Verifier, client_first: &[u8], ours: &str) -> Result<(Self, String)> {
        let text = std::str::from_utf8(client_first).map_err(|_| malformed("The message is not UTF-8."))?;
        let mut parts = text.splitn(3, ',');
        let (flag, authzid, bare) = (parts.next(), parts.next(), parts.next());
        let (Some(flag), Some(""), Some(bare)) = (flag, authzid, bare) else {
            return Err(malformed("The header of the first message is invalid."));
        };
        if !matches!(flag, "n" | "y") {
            return Err(malformed("Channel binding was not offered."));
        }
        let mut attributes = bare.split(',');
        let user = attributes.next().filter(|a| a.starts_with("n="));
        let theirs = attributes.next().and_then(|a| a.strip_prefix("r="));
        let (Some(_), Some(theirs)) = (user, theirs.filter(|n| !n.is_empty())) else {
            return Err(malformed("The first message lacks a user or a nonce."));
        };
        let nonce = format!("{theirs}{ours}");
        let server_first = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        let exchange = Self {
            verifier,
            gs2_header: format!("{flag},,"),
            client_first_bare: bare.to_owned(),
            nonce,
            server_first: server_first.clone(),
        };
        Ok((exchange, server_first))
    }

    /// Takes the client's last message; returns the answer, or 28P01.
    pub fn finish(&self, client_final: &[u8]) -> Result<String> {
        let text = std::str::from_utf8(client_final).map_err(|_| malformed("The message is not UTF-8."))?;
        let (without_proof, proof) =
            text.rsplit_once(",p=").ok_or_else(|| malformed("The last message lacks a proof."))?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|a| a.strip_prefix("c="));
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r="));
        if binding != Some(BASE64.encode(&self.gs2_header).as_str()) {
            return Err(malformed("The channel binding doesn't match."));
        }
        if nonce != Some(self.nonce.as_str()) {
            return Err(malformed("The nonce doesn't match."));
        }
        let proof: [u8; 32] = BASE64
            .decode(proof)
            .ok()
            .and_then(|p| p.try_into().ok())
            .ok_or_else(|| malformed("The proof is invalid."))?;
        let message = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let signature = hmac(&self.verifier.stored_key, message.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(p, s)| p ^ s).collect();
        let stored: [u8; 32] = Sha256::digest(&client_key).into();
        if !same(&stored, &self.verifier.stored_key) | self.verifier.mock {
            return Err(failed());
        }
        Ok(format!("v={}", BASE64.encode(hmac(&self.verifier.server_key, message.as_bytes()))))
    }
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Compares in a time that doesn't depend on where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(a.len() ^ b.len(), |acc, (x, y)| acc | usize::from(x ^ y));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    fn exchange(verifier: Verifier, password: &str) -> Result<()> {
        let mut client = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let (server, first) = Exchange::start(verifier, client.message())?;
        client.update(first.as_bytes()).unwrap();
        let last = server.finish(client.message())?;
        client.finish(last.as_bytes()).unwrap();
        Ok(())
    }

    #[test]
    fn the_right_password_and_only_it() {
        let verifier = Verifier::parse(&Verifier::from_password("secret ø")).unwrap();
        exchange(verifier.clone(), "secret ø").unwrap();
        assert_eq!(exchange(verifier, "secret").unwrap_err().code(), "28P01");
    }

    #[test]
    fn an_unknown_user_looks_like_a_wrong_password() {
        let mock = Verifier::mock(&[7; 32], "nobody");
        assert_eq!(mock.salt, Verifier::mock(&[7; 32], "nobody").salt);
        assert_ne!(mock.salt, Verifier::mock(&[7; 32], "somebody").salt);
        let known = Verifier::parse(&Verifier::from_password("x")).unwrap();
        assert_eq!(mock.salt.len(), known.salt.len());
        assert_eq!(exchange(mock, "x").unwrap_err(), exchange(known, "y").unwrap_err());
    }

    /// RFC 7677, section 3.
    #[test]
    fn the_example_of_the_rfc() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let mut salted = [0; 32];
        pbkdf2::pbkdf2::<Hmac<Sha256>>(b"pencil", &salt, 4096, &mut salted).unwrap();
        let verifier = Verifier {
            iterations: 4096,
            salt,
            stored_key: Sha256::digest(hmac(&salted, b"Client Key")).into(),
            server_key: hmac(&salted, b"Server Key"),
            mock: false,
        };
        let (server, first) = Exchange::start_with_nonce(
            verifier,
            b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        )
        .unwrap();
        assert_eq!(
            first,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(server.finish(last).unwrap(), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn broken_messages_are_errors() {
        let verifier = Verifier::parse(&Verifier::from_password("x")).unwrap();
        for first in ["", "n", "n,,", "n,,n=,r=", "p=tls-unique,,n=,r=a", "n,a=x,n=,r=a", "\u{0}"] {
            assert!(Exchange::start(verifier.clone(), first.as_bytes()).is_err(), "{first}");
        }
        let (server, _) = Exchange::start(verifier, b"n,,n=,r=a").unwrap();
        for last in ["", "c=biws", "c=biws,r=a,p=", "c=eSws,r=a,p=AA=="] {
            assert!(server.finish(last.as_bytes()).is_err(), "{last}");
        }
        assert!(Verifier::parse("SCRAM-SHA-256$0:AA==$AA==:AA==").is_err());
    }
}
