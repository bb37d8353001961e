use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::http::tests::network::write;
use crate::http::tests::network::write_pair;

fn files(dir: &Path) -> Files {
    let pair = Pair { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
    Files { tokens: Some(dir.join("tokens.toml")), pair: Some(pair) }
}

fn token(name: &str) -> String {
    format!("[[token]]\nname = \"{name}\"\nrole = \"read\"\nsha256 = \"{}\"\n", tokens::digest(name))
}

#[tokio::test]
async fn what_is_broken_leaves_in_force_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let ring = Keyring::new(files.clone());
    let (tokens, tls) = (ring.tokens(), ring.tls());
    let mut seen = Seen::default();
    ring.look(&mut seen).await;
    assert!(tls.borrow().is_none() && tokens.borrow().is_empty(), "there is nothing to read yet");
    assert_eq!(files.problems().len(), 2);

    write_pair(dir.path());
    write(&dir.path().join("tokens.toml"), &token("a"));
    ring.look(&mut seen).await;
    let first = tls.borrow().clone().unwrap();
    assert_eq!((tokens.borrow().has("a"), files.problems()), (true, vec![]));

    let same = |now: &watch::Receiver<Option<Arc<ServerConfig>>>| now.borrow().as_ref().is_some_and(|now| Arc::ptr_eq(now, &first));
    ring.look(&mut seen).await;
    assert!(same(&tls), "what did not change is not taken anew");
    let key = std::fs::read_to_string(dir.path().join("key.pem")).unwrap();
    write_pair(dir.path());
    write(&dir.path().join("key.pem"), &key);
    ring.look(&mut seen).await;
    assert!(same(&tls), "a certificate whose key has not come yet is not used");
    assert_eq!(files.problems()[0].0, Part::Certificate);
    write(&dir.path().join("tokens.toml"), "[[token]]");
    ring.look(&mut seen).await;
    assert!(tokens.borrow().has("a"), "a broken file revokes nobody");
    std::fs::remove_file(dir.path().join("tokens.toml")).unwrap();
    ring.look(&mut seen).await;
    assert!(tokens.borrow().has("a"), "nor does one that is not there");

    write_pair(dir.path());
    write(&dir.path().join("tokens.toml"), &token("b"));
    ring.look(&mut seen).await;
    assert!(!same(&tls));
    assert_eq!((tokens.borrow().has("a"), tokens.borrow().has("b")), (false, true));
}

#[test]
fn what_everybody_could_read_or_is_no_key_is_said_without_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    write_pair(dir.path());
    write(&dir.path().join("tokens.toml"), "");
    let said = || files.problems().into_iter().map(|(_, why)| why).collect::<String>();
    assert_eq!(said(), "");
    std::fs::set_permissions(dir.path().join("key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(said().contains("chmod o="), "{}", said());
    write(&dir.path().join("key.pem"), "hush");
    assert!(said().contains("no private key") && !said().contains("hush"), "{}", said());
    write(&dir.path().join("cert.pem"), "no PEM");
    assert!(said().contains("no certificate"), "{}", said());
    write(&dir.path().join("cert.pem"), &"x".repeat(PEM_LIMIT as usize + 1));
    assert!(said().contains("longer than"), "{}", said());
}
