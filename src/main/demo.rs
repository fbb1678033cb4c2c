//! `lull demo`: a server on a throw-away database, with a vendor, a plan, a companion and a funded client, and links that
//! work at once.

use crate::serve::{Certificate, Server, log, runtime};
use crate::tools::{add_vendor, login_code};
use anyhow::{Context, Result, anyhow, bail};
use lull::bot;
use lull::config::{Config, Flags};
use serde_json::Value;
use signaling::auth::hash_secret;
use signaling::code::Code;
use signaling::inbound::{Caller, Idempotency, Inbound};
use signaling::message::Amount;
use signaling::rest::{CreateCall, CreateCompanion, CreatePlan, Credit, Media, PlanKind, Request};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use tokio::sync::oneshot;

/// A folder that is gone when the demo is.
struct ThrowAway(PathBuf);

impl ThrowAway {
    fn make() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("lull-demo-{}", uuid::Uuid::now_v7().simple()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        // What is left in the temporary folder is no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn run(mut flags: Flags, bot: bool, lan: bool) -> Result<()> {
    let folder = ThrowAway::make()?;
    flags.base.db.get_or_insert(format!("sqlite:{}", folder.0.join("demo.db").display()));
    flags.base.log.get_or_insert("warn,lull=info".to_owned());
    let certificate = if lan {
        let ip = match lull::media::own_address() {
            Some(ip) => ip,
            None if flags.public_url.is_some() => Ipv4Addr::LOCALHOST.into(),
            None => bail!("this machine has no address in a network; `lull demo` without --lan works here"),
        };
        flags.http.get_or_insert("0.0.0.0:8443".to_owned());
        let port = flags.http.as_deref().and_then(|at| at.rsplit(':').next()).unwrap_or("8443").to_owned();
        flags.public_url.get_or_insert(format!("https://{ip}:{port}"));
        Some(self_signed(ip)?)
    } else {
        None
    };
    let config = Config::load(&flags)?;
    log(&config)?;
    runtime()?.block_on(async {
        let server = Server::start(&config, certificate, false).await?;
        let links = furnish(&server).await?;
        let link = |party: &str| links[party]["url"].as_str().unwrap_or_default().to_owned();
        println!("\nlull demo: open these in two windows (or on two devices), allow the microphone, and join.\n");
        println!("  client     {}", link("client"));
        if bot {
            println!("  companion  the built-in one joins by itself; she says back what she hears");
            start_bot(&server, &links)?;
        } else {
            println!("  companion  {}", link("companion"));
        }
        println!("  vendor     {}/vendor#{}", server.public_url, login_code(&server.store, "Demo")?);
        if lan {
            println!("\nThe certificate was made on the spot: the browser warns once; go on to the page all the same.");
        }
        println!(
            "\nOne call of 15 minutes at 20.00 CNY is waiting, and the client has 80.00 CNY left to extend it. Ctrl-C ends the demo.\n"
        );
        server.run_until_signal().await
    })
}

/// The bot comes in by the companion's own token, as her page would.
fn start_bot(server: &Server, links: &Value) -> Result<()> {
    let token = links["companion"]["token"].as_str().unwrap_or_default();
    let now_unix_s = server.clock.now().unix_ms().div_euclid(1000);
    let claims = server.tokens.verify(token, now_unix_s).map_err(|code| anyhow!("the bot's token is refused: {code:?}"))?;
    let inbound = server.inbound.clone();
    let join = move |offer: String| {
        let (claims, inbound) = (claims.clone(), inbound.clone());
        async move {
            let (reply, answer) = oneshot::channel();
            let stopped = || bot::Refusal::Final("the server stopped".to_owned());
            inbound.send(Inbound::Join { claims, offer, reply }).await.map_err(|_| stopped())?;
            match answer.await.map_err(|_| stopped())? {
                Ok(joined) => Ok(joined.answer),
                Err(refused) if refused.code == Code::Overloaded => Err(bot::Refusal::Later(refused.detail)),
                Err(refused) => Err(bot::Refusal::Final(refused.detail)),
            }
        }
    };
    tokio::spawn(async move {
        match bot::run(bot::BotSettings { video: true }, join, std::future::pending()).await {
            Ok(end) => tracing::info!("the built-in companion left: {end:?}"),
            Err(error) => tracing::warn!("the built-in companion gave up: {error}"),
        }
    });
    Ok(())
}

fn self_signed(ip: IpAddr) -> Result<Certificate> {
    let made = rcgen::generate_simple_self_signed(vec![ip.to_string(), "localhost".to_owned()])?;
    Ok(Certificate { chain_pem: made.cert.pem(), key_pem: made.signing_key.serialize_pem() })
}

/// Makes what a vendor would have made over REST, through the same queue. Returns the new call with its links.
async fn furnish(server: &Server) -> Result<Value> {
    let caller = Caller::ApiKey(hash_secret(&add_vendor(&server.store, "Demo")?));
    let yuan = |amount: i64| Amount { amount: amount * 100, currency: "CNY".to_owned() };
    let grade = Some("Gold".to_owned());
    let plan = CreatePlan {
        name: "15 minutes".to_owned(),
        kind: PlanKind::Block,
        block_s: Some(900),
        price: Some(yuan(20)),
        grade: grade.clone(),
        ..CreatePlan::default()
    };
    let plan = ask(server, caller, Request::CreatePlan(plan)).await?;
    let companion = ask(server, caller, Request::CreateCompanion(CreateCompanion { name: "Lin".to_owned(), grade })).await?;
    let credit = Credit { amount: yuan(100), order_ref: "demo-order".to_owned() };
    ask(server, caller, Request::Credit { client_ref: "demo-client".to_owned(), credit }).await?;
    let call = CreateCall {
        plan_id: plan["id"].as_str().unwrap_or_default().to_owned(),
        client_ref: "demo-client".to_owned(),
        client_name: Some("Wei".to_owned()),
        companion_id: companion["id"].as_str().unwrap_or_default().to_owned(),
        media: Some(Media::Video),
    };
    ask(server, caller, Request::CreateCall(call)).await
}

async fn ask(server: &Server, caller: Caller, request: Request) -> Result<Value> {
    let (reply, answer) = oneshot::channel();
    let key = uuid::Uuid::now_v7().simple().to_string();
    let request_hash = hash_secret(&key);
    let idempotency = Some(Idempotency { key, request_hash });
    server.inbound.send(Inbound::Rest { caller, idempotency, request, reply }).await.map_err(|_| anyhow!("the service stopped"))?;
    let answered = answer.await?.map_err(|refused| anyhow!("{:?}: {}", refused.code, refused.detail))?;
    Ok(answered.body)
}
