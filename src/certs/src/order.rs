//! One order, from wanting a certificate to having it (RFC 8555, 7.4).
//!
//! What is done cannot be done twice without cost, so each step is written down before it is
//! taken: the key before the order that is for it, the order's address before its challenges. A
//! process that comes after a crash, or after another has lost the lease, goes on from there.
//! Only where the address is not known yet can an order be left behind, unused: nobody can ask an
//! authority for it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, Challenge as AcmeChallenge,
    ChallengeStatus, ChallengeType, Error, ExternalAccountKey, Identifier, Key, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use model::{AcmeAccount, CertName, CertOrder, Certificate, Challenge, ChallengeKind, OrderStep, UnixMillis};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::chain;
use crate::config::Config;
use crate::failure::{Failure, is_about_replacing, said, whole};
use crate::http::{Https, Manners};
use crate::keeper::Wanted;
use crate::schedule::{after, pause, renewal, soonest, suggested};
use crate::seal::{Keyring, row};
use crate::vault::{Records, Vault, VaultError};

/// How long an order is worked at, at a stretch, before others get their turn.
const PATIENCE: Duration = Duration::from_secs(90);
/// An order that is older than this is given up, and another one begun.
const OLDEST: Duration = Duration::from_secs(60 * 60);
/// How often an authority is asked at least when it wants a certificate to be renewed.
const ASK: Duration = Duration::from_secs(24 * 60 * 60);
/// And when it did not know (RFC 9773, 4.3.3).
const ASK_AGAIN: Duration = Duration::from_secs(6 * 60 * 60);
/// What the library says when an authority did not repeat what an order replaces.
const NOT_REFLECTED: &str = "replaces field mismatch";
/// What counts against the limits.
const HOUR: i64 = 60 * 60 * 1000;

/// Whoever gets certificates from one authority.
pub(crate) struct Issuer {
    config: Config,
    keyring: Arc<Keyring>,
    vault: Arc<dyn Vault>,
    records: Option<Arc<dyn Records>>,
    manners: Manners,
    account: Mutex<Option<Account>>,
}

impl Issuer {
    pub(crate) fn new(
        config: Config,
        keyring: Arc<Keyring>,
        vault: Arc<dyn Vault>,
        records: Option<Arc<dyn Records>>,
    ) -> Self {
        Self {
            config,
            keyring,
            vault,
            records,
            manners: Manners::default(),
            account: Mutex::default(),
        }
    }

    /// Does what there is to do about a name that is due, and writes down how it went.
    pub(crate) async fn look(&self, wanted: Wanted, mut order: CertOrder) -> Result<(), VaultError> {
        let failure = match self.advance(&wanted, &mut order).await {
            Ok(()) => return Ok(()),
            Err(Failure::Vault(error)) => return Err(error),
            Err(failure) => failure,
        };
        let now = now();
        let waits = match &failure {
            Failure::Limited { wait, .. } => Some(*wait),
            _ => self.manners.wait().map(|(wait, _)| wait),
        };
        order.problem = Some(failure.to_string());
        // What was asked for is gone on with: as an order that is about to be placed.
        if order.asked && order.step == OrderStep::Waiting {
            order.step = OrderStep::Ordering;
        }
        order.asked = false;
        let old = order.begun_at.is_some_and(|begun| after(begun, OLDEST) < now);
        match failure {
            // Somebody may have asked before it was due.
            Failure::Later { wait, .. } => order.due_at = order.due_at.max(after(now, wait)),
            Failure::Passing(_)
            | Failure::Limited { .. }
            | Failure::Final(_)
            | Failure::Stranger(_)
            | Failure::Vault(_) => {
                order.failures = order.failures.saturating_add(1);
                order.due_at = after(now, pause(order.failures, self.config.retry, waits));
                tracing::warn!(
                    certificate.name = %order.name, failures = order.failures, problem = order.problem,
                    "no certificate was had"
                );
            }
        }
        if matches!(failure, Failure::Passing(_) | Failure::Stranger(_)) {
            // Its directory may be another one by then.
            *self.account.lock().await = None;
        }
        if matches!(failure, Failure::Stranger(_)) {
            self.forget_account().await?;
        }
        if matches!(failure, Failure::Final(_) | Failure::Stranger(_)) || old {
            self.withdraw(&order.name).await?;
            order.step = OrderStep::Waiting;
            order.url = None;
            order.key = None;
        }
        self.vault.put_order(&order).await
    }

    async fn advance(&self, wanted: &Wanted, order: &mut CertOrder) -> Result<(), Failure> {
        if let Some((wait, why)) = self.manners.wait() {
            let why = format!("the authority wants to be left alone for now: {why}");
            return Err(Failure::Later { why, wait });
        }
        let there = self.vault.certificate(&order.name).await?;
        if order.url.is_none() {
            // One that was begun, or failed, is wanted whatever its time.
            let wanted_now = order.asked || order.failures > 0 || order.step != OrderStep::Waiting;
            if let Some(there) = there.as_ref().filter(|_| !wanted_now) {
                let (renew, look) = self.renewal(there).await;
                if now() < renew {
                    order.due_at = look;
                    (order.step, order.problem, order.failures) = (OrderStep::Waiting, None, 0);
                    return Ok(self.vault.put_order(order).await?);
                }
            }
            self.begin(wanted, order, there.as_ref()).await?;
        }
        let account = self.account().await?;
        let url = order.url.clone().unwrap_or_default();
        let mut under_way = account.order(url).await.map_err(said("look at the order"))?;
        if under_way.state().status == OrderStatus::Pending {
            self.prove(wanted, order, &mut under_way).await?;
        }
        let key = order.key.as_ref();
        let key = key.ok_or_else(|| Failure::Final("the order's key is lost".to_owned()))?;
        let key = self.keyring.open(&row::order(&order.name), key)?;
        let pem = self.fetch(order, &mut under_way, &key).await?;
        self.finish(order, &pem, &key).await
    }

    /// When to renew, and when to look again.
    async fn renewal(&self, there: &Certificate) -> (UnixMillis, UnixMillis) {
        let by_age = renewal(&there.name, there.not_before, there.not_after);
        let Some((issuer, serial)) = chain::identify(&there.chain) else {
            return (by_age, by_age);
        };
        let ask_again = UnixMillis(by_age.0.min(after(now(), ASK_AGAIN).0));
        let Ok(account) = self.account().await else {
            return (by_age, ask_again);
        };
        let id = CertificateIdentifier::new(issuer.as_slice().into(), serial.as_slice().into());
        let asked = account.renewal_info(&id).await;
        let (at, again) = match &asked {
            Ok((info, again)) => {
                let millis = |moment: i128| UnixMillis(i64::try_from(moment / 1_000_000).unwrap_or(i64::MAX));
                let window = &info.suggested_window;
                let (start, end) = (window.start.unix_timestamp_nanos(), window.end.unix_timestamp_nanos());
                let at = suggested(&there.name, (millis(start), millis(end)), there.not_after);
                if at.is_none() {
                    let window = format!("{} to {}", window.start, window.end);
                    tracing::warn!(certificate.name = %there.name, window, "an absurd moment to renew");
                }
                (at, (*again).min(ASK))
            }
            Err(Error::Unsupported(_)) => return (by_age, by_age),
            Err(error) => {
                tracing::warn!(certificate.name = %there.name, error = whole(error), "ask when to renew");
                // It may be asked elsewhere by then.
                *self.account.lock().await = None;
                return (by_age, ask_again);
            }
        };
        let at = at.unwrap_or(by_age);
        let again = again.max(soonest(there.not_before, there.not_after));
        (at, UnixMillis(at.0.min(after(now(), again).0)))
    }

    async fn begin(&self, wanted: &Wanted, order: &mut CertOrder, there: Option<&Certificate>) -> Result<(), Failure> {
        let (all, theirs) = self.vault.begun_since(UnixMillis(now().0 - HOUR), wanted.user).await?;
        for (begun, limit, key) in [
            (all, self.config.per_hour, "acme.per_hour"),
            (theirs, self.config.per_user, "acme.per_user"),
        ] {
            if begun >= limit {
                let why = format!("{begun} orders were begun within an hour, and {key} is {limit}");
                let wait = Duration::from_secs(5 * 60);
                return Err(Failure::Later { why, wait });
            }
        }
        let account = self.account().await?;
        if order.key.is_none() {
            let key = KeyPair::generate().map_err(|error| Failure::Passing(error.to_string()))?;
            let der = Zeroizing::new(key.serialize_der());
            order.key = Some(self.keyring.seal(&row::order(&order.name), &der)?);
        }
        order.step = OrderStep::Ordering;
        order.begun_at = Some(now());
        self.vault.begin_order(order, wanted.user).await?;

        let names = [Identifier::Dns(order.name.to_string())];
        let replaced = there.and_then(|there| chain::identify(&there.chain));
        let new = NewOrder::new(&names);
        let made = match &replaced {
            Some((issuer, serial)) => {
                let id = CertificateIdentifier::new(issuer.as_slice().into(), serial.as_slice().into());
                match account.new_order(&new.replaces(id)).await {
                    // It has no such thing, or takes the last one for replaced already.
                    Err(Error::Unsupported(_)) => account.new_order(&NewOrder::new(&names)).await,
                    Err(Error::Api(problem)) if problem.r#type.as_deref().is_some_and(is_about_replacing) => {
                        account.new_order(&NewOrder::new(&names)).await
                    }
                    // It has made an order, and the library does not tell where: the next one does.
                    Err(Error::Other(error)) if error.to_string().starts_with(NOT_REFLECTED) => {
                        account.new_order(&NewOrder::new(&names)).await
                    }
                    made => made,
                }
            }
            None => account.new_order(&new).await,
        };
        let made = made.map_err(said("order a certificate"))?;
        order.url = Some(made.url().to_owned());
        order.step = OrderStep::Proving;
        Ok(self.vault.put_order(order).await?)
    }

    /// Shows the authority that the name is ours.
    async fn prove(&self, wanted: &Wanted, order: &mut CertOrder, under_way: &mut Order) -> Result<(), Failure> {
        let kind = match wanted.challenge {
            ChallengeKind::Http01 => ChallengeType::Http01,
            ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
            ChallengeKind::Dns01 => ChallengeType::Dns01,
        };
        let mut refused = None;
        let mut all = under_way.authorizations();
        while let Some(one) = all.next().await {
            let mut one = one.map_err(said("look at what is to be proved"))?;
            if one.status != AuthorizationStatus::Pending {
                continue;
            }
            let Some(mut challenge) = one.challenge(kind.clone()) else {
                let why = format!("the authority does not take {} for {}", wanted.challenge, order.name);
                return Err(Failure::Final(why));
            };
            let proof = challenge.key_authorization();
            let base = order.name.base().parse::<CertName>();
            let name = base.map_err(|error| Failure::Final(error.to_string()))?;
            let answer = match wanted.challenge {
                ChallengeKind::Dns01 => proof.dns_value(),
                ChallengeKind::Http01 | ChallengeKind::TlsAlpn01 => proof.as_str().to_owned(),
            };
            let told = Challenge {
                name,
                kind: wanted.challenge,
                token: challenge.token.clone(),
                answer,
            };
            // Written down first: what was put in DNS is then known to whoever cleans up.
            self.vault.put_challenge(&told).await?;
            if told.kind == ChallengeKind::Dns01 {
                self.records()?.put_txt(&txt(&order.name), &told.answer).await?;
            }
            if let Err(error) = challenge.set_ready().await {
                refused = Some(error);
            }
        }
        // The process whose lease this one took may have said so just now.
        if let Some(error) = refused
            && self.is_to_be_told(under_way, &kind).await?
        {
            return Err(said("say that it may look")(error));
        }
        let policy = RetryPolicy::new().timeout(PATIENCE);
        match under_way.poll_ready(&policy).await {
            Ok(OrderStatus::Ready) => Ok(()),
            Ok(_) => Err(Failure::Final(self.why(under_way).await)),
            Err(Error::Timeout(_)) => Err(Failure::Passing("the authority still looks at the name".to_owned())),
            // What was found of the name is said there.
            Err(_) if under_way.state().error.is_some() => Err(Failure::Final(self.why(under_way).await)),
            Err(error) => Err(said("prove the name")(error)),
        }
    }

    /// Whether an authority does not know yet that it may look for an answer.
    async fn is_to_be_told(&self, under_way: &mut Order, kind: &ChallengeType) -> Result<bool, Failure> {
        let look = || said("look at what is to be proved");
        let mut all = under_way.authorizations();
        while let Some(one) = all.next().await {
            let mut one = one.map_err(look())?;
            let seen = one.refresh().await.map_err(look())?;
            let waits = |it: &AcmeChallenge| it.r#type == *kind && it.status == ChallengeStatus::Pending;
            if seen.status == AuthorizationStatus::Pending && seen.challenges.iter().any(waits) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Why an authority was not convinced.
    async fn why(&self, under_way: &mut Order) -> String {
        let mut said = Vec::new();
        let mut all = under_way.authorizations();
        while let Some(Ok(mut one)) = all.next().await {
            let Ok(state) = one.refresh().await else { continue };
            let errors = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            said.extend(errors.filter_map(|error| error.detail.clone()));
        }
        match said.as_slice() {
            [] => "the authority was not convinced, and does not say why".to_owned(),
            said => format!("the authority was not convinced: {}", said.join("; ")),
        }
    }

    /// Has the certificate made, and gets it.
    async fn fetch(&self, order: &mut CertOrder, under_way: &mut Order, key: &[u8]) -> Result<String, Failure> {
        if under_way.refresh().await.map_err(said("look at the order"))?.status == OrderStatus::Ready {
            order.step = OrderStep::Finalizing;
            self.vault.put_order(order).await?;
            let csr = request(&order.name, key).map_err(Failure::Final)?;
            if let Err(error) = under_way.finalize_csr(&csr).await {
                // As with a proof, another process may have had it made just now.
                let seen = under_way.refresh().await.map_err(said("look at the order"))?;
                if seen.status == OrderStatus::Ready {
                    return Err(said("have it made")(error));
                }
            }
        }
        if under_way.state().status == OrderStatus::Invalid {
            return Err(Failure::Final(self.why(under_way).await));
        }
        let policy = RetryPolicy::new().timeout(PATIENCE);
        match under_way.poll_certificate(&policy).await {
            Ok(pem) => Ok(pem),
            Err(Error::Timeout(_)) => Err(Failure::Passing("the authority still makes the certificate".to_owned())),
            Err(error) if under_way.state().error.is_some() => {
                Err(Failure::Final(format!("have it made: {}", whole(&error))))
            }
            Err(error) => Err(said("get the certificate")(error)),
        }
    }

    async fn finish(&self, order: &mut CertOrder, pem: &str, key: &[u8]) -> Result<(), Failure> {
        let good = chain::check(pem, &order.name, key, now());
        let good = good.map_err(|why| Failure::Final(format!("the authority sent a chain that is no good: {why}")))?;
        let certificate = Certificate {
            name: order.name.clone(),
            chain: pem.to_owned(),
            key: self.keyring.seal(&row::certificate(&order.name), key)?,
            not_before: good.not_before,
            not_after: good.not_after,
        };
        let next = CertOrder {
            // Then it is asked when to renew.
            due_at: after(now(), soonest(good.not_before, good.not_after)).min(renewal(
                &order.name,
                good.not_before,
                good.not_after,
            )),
            ..CertOrder::new(order.name.clone(), now())
        };
        self.clean(&order.name).await;
        self.vault.finish_order(&certificate, &next).await?;
        tracing::info!(certificate.name = %order.name, certificate.expires = good.not_after.0 / 1000, "certificate issued");
        *order = next;
        Ok(())
    }

    /// Takes back what an authority was to be shown.
    async fn withdraw(&self, name: &CertName) -> Result<(), VaultError> {
        self.clean(name).await;
        self.vault.delete_challenges(name).await
    }

    /// The records among it. One that stays does no harm, and is no reason to fail.
    async fn clean(&self, name: &CertName) {
        let Some(records) = &self.records else { return };
        let there = self.vault.challenges(name).await.unwrap_or_default();
        for one in there.iter().filter(|one| one.kind == ChallengeKind::Dns01) {
            if let Err(error) = records.remove_txt(&txt(name), &one.answer).await {
                tracing::warn!(certificate.name = %name, %error, "a challenge's record stays");
            }
        }
    }

    fn records(&self) -> Result<&dyn Records, Failure> {
        let none = || Failure::Final("dns-01 needs a provider: dns.provider is none".to_owned());
        self.records.as_deref().ok_or_else(none)
    }

    /// The account, made at first use.
    async fn account(&self) -> Result<Account, Failure> {
        let mut kept = self.account.lock().await;
        if let Some(account) = kept.as_ref() {
            return Ok(account.clone());
        }
        let directory = self.config.directory.to_string();
        let at = row::account(&directory);
        let client = Https::new(&self.config, self.manners.clone()).map_err(said("make a client"))?;
        let builder = Account::builder_with_http(Box::new(client));
        let known = self.vault.account(&directory).await?;
        let open = said("open the account");
        let account = match (known, &self.config.binding) {
            (
                Some(AcmeAccount {
                    url: Some(url), key, ..
                }),
                _,
            ) => {
                let key = self.keyring.open(&at, &key)?;
                let key = PrivatePkcs8KeyDer::from(key.as_slice());
                builder.from_parts(url, key, directory).await.map_err(open)?
            }
            // Its key is written down first: asked for with the same key, it is the same account.
            (known, None) => {
                let key = match &known {
                    Some(known) => self.keyring.open(&at, &known.key)?,
                    None => {
                        let (_, key) = Key::generate_pkcs8().map_err(said("make a key"))?;
                        let der = Zeroizing::new(key.secret_pkcs8_der().to_vec());
                        self.keep(&directory, None, &der).await?;
                        der
                    }
                };
                let pair = Key::from_pkcs8_der(PrivatePkcs8KeyDer::from(key.as_slice())).map_err(said("read a key"))?;
                let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
                let (account, _) = builder
                    .create_from_key((pair, der), directory.clone())
                    .await
                    .map_err(open)?;
                self.keep(&directory, Some(account.id()), &key).await?;
                account
            }
            // With a binding the library makes the key: should we die here, the next one makes another.
            (_, Some(binding)) => {
                let eab = ExternalAccountKey::new(binding.kid.clone(), &binding.key);
                let new = NewAccount {
                    contact: &[],
                    terms_of_service_agreed: true,
                    only_return_existing: false,
                };
                let made = builder.create(&new, directory.clone(), Some(&eab)).await;
                let (account, credentials): (Account, AccountCredentials) = made.map_err(open)?;
                let key = credentials.private_key().secret_pkcs8_der();
                self.keep(&directory, Some(account.id()), key).await?;
                account
            }
        };
        let contact: Vec<&str> = self.config.contact.iter().map(String::as_str).collect();
        if !contact.is_empty() {
            account
                .update_contacts(&contact)
                .await
                .map_err(said("tell it acme.contact"))?;
        }
        Ok(kept.insert(account).clone())
    }

    /// Has the account made anew at next use, by the same key.
    async fn forget_account(&self) -> Result<(), VaultError> {
        let directory = self.config.directory.to_string();
        match self.vault.account(&directory).await? {
            Some(known) => self.vault.put_account(&AcmeAccount { url: None, ..known }).await,
            None => Ok(()),
        }
    }

    async fn keep(&self, directory: &str, url: Option<&str>, key: &[u8]) -> Result<(), Failure> {
        let account = AcmeAccount {
            directory: directory.to_owned(),
            url: url.map(ToOwned::to_owned),
            key: self.keyring.seal(&row::account(directory), key)?,
        };
        Ok(self.vault.put_account(&account).await?)
    }
}

/// Where an authority looks for a name's records (RFC 8555, 8.4).
fn txt(name: &CertName) -> String {
    format!("_acme-challenge.{}", name.base())
}

/// A certificate signing request for a name, by a key.
fn request(name: &CertName, key: &[u8]) -> Result<Vec<u8>, String> {
    let text = |error: rcgen::Error| error.to_string();
    let key = KeyPair::try_from(key).map_err(text)?;
    let mut params = CertificateParams::new(vec![name.to_string()]).map_err(text)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(text)?;
    Ok(request.der().to_vec())
}

pub(crate) fn now() -> UnixMillis {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_for_the_name_alone() {
        let key = KeyPair::generate().expect("a key").serialize_der();
        let name: CertName = "*.example.com".parse().expect("a name");
        let der = request(&name, &key).expect("a request");
        assert!(der.windows(13).any(|part| part == b"*.example.com"));
        assert_eq!(txt(&name), "_acme-challenge.example.com");
        assert!(request(&name, b"no key").is_err());
    }
}
