//! Files of services on a real host: put before the start, taken up when they change,
//! refused when they are bad, and there again after a power cut without a network.

use super::{Fleet, SOON};
use hostler_lab::hosts::Hosts;
use hostler_lab::wait_for;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const HOST: &str = "h1";
const CONTROL: &str = "h2";
const CONF: &str = "/root/site/files/nginx.conf";
/// Its own pause before it tries again is the longest of it.
const AGAIN: Duration = Duration::from_secs(60);
/// What others change is looked for once a minute.
const LOOKED: Duration = Duration::from_secs(90);

struct Site(Fleet);

impl Site {
    fn up() -> Self {
        let fleet = Fleet { hosts: Hosts::up(2, "nginx-light,openssl"), control: CONTROL };
        fleet.put_control_plane(&fleet.hosts.address(CONTROL));
        fleet.start_control_plane();
        let made = fleet.json("token create --label role=app");
        fleet.hosts.exec_ok(HOST, made["install"].as_str().expect("an install line"));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/main/lab/files");
        fleet.cp("mkdir -p /root/site/files");
        for file in ["site.yaml", "files/nginx.conf", "files/shop.conf", "files/shop.py"] {
            fleet.hosts.put(CONTROL, &folder.join(file), &format!("/root/site/{file}"));
        }
        Self(fleet)
    }

    fn host(&self, script: &str) -> String {
        self.0.hosts.exec_ok(HOST, script).trim_end().to_owned()
    }

    fn apply(&self) -> String {
        self.0.cp("hostlerctl apply -f /root/site --yes")
    }

    fn served(&self, text: &str) {
        wait_for(&format!("{text} to be served"), AGAIN, || {
            let ran = self.0.hosts.exec(HOST, "curl -s http://127.0.0.1/");
            let more = || self.0.hosts.exec(HOST, "hostler-agent service ls; hostler-agent why").out;
            if ran.out.trim_end() == text { Ok(()) } else { Err((ran, more())) }
        });
    }

    fn main_pid(&self) -> String {
        self.host("systemctl show --property MainPID nginx")
    }

    fn shop_pid(&self) -> String {
        let pid = || self.0.hosts.exec(HOST, "pgrep -u shop -f shop.py").out;
        wait_for("the shop to run", SOON, || Some(pid()).filter(|pid| !pid.is_empty()).ok_or("not yet"))
    }

    /// As the host tells them, those of one deed whose text has the words.
    fn acts(&self, service: &str, deed: &str, words: &str) -> Vec<Value> {
        let all: Vec<Value> = serde_json::from_str(&self.host("hostler-agent why -o json")).expect("acts");
        let fits = |act: &Value| act["service"] == service && act["deed"] == deed && act.to_string().contains(words);
        all.into_iter().filter(fits).collect()
    }

    fn wait_act(&self, service: &str, deed: &str, words: &str) -> Value {
        wait_for(&format!("{service} to be {deed}: {words}"), SOON, || {
            self.acts(service, deed, words).pop().ok_or_else(|| self.host("hostler-agent why"))
        })
    }
}

#[test]
fn files_reach_a_service_once_and_only_when_they_are_good() {
    let site = Site::up();
    site.host("systemctl stop nginx");
    // Before anything starts: nginx without its secret does not, and the shop has its all.
    site.apply();
    let shop = site.shop_pid();
    assert_eq!(site.host("systemctl is-active nginx || true"), "inactive");
    assert_eq!(site.host("stat -c '%U %a' /opt/shop/config/shop.conf"), "shop 644");
    site.0.cp("echo hunter22 | hostlerctl secret set key");
    site.served("one on h1 for 127.0.0.1 with hunter22");
    assert_eq!(site.host("stat -c '%U %a' /etc/nginx/nginx.conf"), "root 640");

    // Changed: the same process has the new content.
    let pid = site.main_pid();
    site.0.cp(&format!("sed -i 's/one on/two on/' {CONF}"));
    site.apply();
    site.served("two on h1 for 127.0.0.1 with hunter22");
    let act = site.wait_act("web", "reloaded", "changed /etc/nginx/nginx.conf");
    assert_eq!(act["rule"], "files: change = reload", "{act:#}");
    assert!(act["origin"].as_str().is_some_and(|origin| origin.contains("site.yaml:")), "{act:#}");
    // A new value of a secret is a change as well.
    site.0.cp("echo hunter33 | hostlerctl secret set key");
    site.served("two on h1 for 127.0.0.1 with hunter33");
    assert_eq!(site.main_pid(), pid, "it was reloaded, and not restarted");

    // Bad: refused with what nginx says, and the old one is served.
    site.0.cp(&format!("cp {CONF} /root/good && sed -i 's/access_log off/acess_log off/' {CONF}"));
    site.apply();
    let act = site.wait_act("web", "failed", "unknown directive");
    println!("{act:#}");
    assert!(act["saw"].to_string().contains("finds fault with the new /etc/nginx/nginx.conf"), "{act:#}");
    assert!(!act.to_string().contains("hunter33"), "{act:#}");
    assert_eq!(site.host("grep -c acess_log /etc/nginx/nginx.conf || true"), "0");
    site.served("two on h1 for 127.0.0.1 with hunter33");

    // The same again, and the good one back: nothing happens.
    let reloads = site.acts("web", "reloaded", "").len();
    site.apply();
    site.0.cp(&format!("cp /root/good {CONF}"));
    site.apply();
    site.apply();

    // A changed file restarts the shop, once; a bad one does not.
    site.0.cp("echo 'greeting = bye' >/root/site/files/shop.conf");
    site.apply();
    let act = site.wait_act("shop", "restarted", "changed /opt/shop/config/shop.conf");
    assert_eq!(act["rule"], "files: change = restart", "{act:#}");
    let after =
        wait_for("another process", SOON, || Some(site.shop_pid()).filter(|pid| *pid != shop).ok_or("the same"));
    assert!(site.host("hostler-agent logs shop").contains("greeting = bye"));
    site.0.cp("echo 'gretting = hi' >/root/site/files/shop.conf");
    site.apply();
    site.wait_act("shop", "failed", "grep finds fault");
    assert_eq!(site.shop_pid(), after);
    assert_eq!(site.acts("shop", "restarted", "").len(), 1);
    assert_eq!((site.acts("web", "reloaded", "").len(), site.acts("web", "failed", "unknown").len()), (reloads, 1));
    assert_eq!(site.main_pid(), pid);

    // What can't be had says so.
    site.0.cp("printf '  more: {where: role=app, command: sleep 1000, packages: [no-such-package]}\\n' >>/root/site/site.yaml");
    site.apply();
    wait_for("the package's error", AGAIN, || {
        let text = site.host("hostler-agent why; hostler-agent service ls");
        if text.contains("no-such-package can't be installed") { Ok(()) } else { Err(text) }
    });

    // A power cut, no network, and the shop's files gone: they come from the disk; the bad
    // one stays out, and the good one before it is not asked for any more.
    site.0.cp("echo 'greeting = again' >/root/site/files/shop.conf");
    site.apply();
    wait_for("the new file", SOON, || {
        let text = site.host("cat /opt/shop/config/shop.conf");
        if text == "greeting = again" { Ok(()) } else { Err(text) }
    });
    site.shop_pid();
    site.0.cp("systemctl stop hostler-control-plane");
    site.host("rm /opt/shop/config/shop.conf && rm /etc/nginx/nginx.conf && sync");
    assert_eq!(site.0.hosts.lab(&["kill", HOST]).code, Some(0));
    assert_eq!(site.0.hosts.lab(&["boot", HOST]).code, Some(0));
    assert_eq!(site.0.hosts.lab(&["cut", HOST]).code, Some(0));
    site.served("two on h1 for 127.0.0.1 with hunter33");
    site.shop_pid();
    assert_eq!(site.host("cat /opt/shop/config/shop.conf"), "greeting = again");
}

/// First told and left, then put back, and not fought over.
#[test]
fn what_others_change_is_told_once_and_then_left_or_put_back() {
    const NGINX: &str = "/etc/nginx/nginx.conf";
    let site = Site::up();
    site.apply();
    site.0.cp("echo hunter22 | hostlerctl secret set key");
    let served = "one on h1 for 127.0.0.1 with hunter22";
    site.served(served);
    let shop = site.shop_pid();
    let drifted = |words: &str| site.acts("web", "drifted", words).len();
    let reloads = || site.acts("web", "reloaded", "").len();
    let before = reloads();
    let minute = |what: &str, is_so: &dyn Fn() -> bool| {
        wait_for(what, LOOKED, || {
            if is_so() { Ok(()) } else { Err(site.host("hostler-agent why; hostler-agent service ls")) }
        });
    };
    // drift: alarm. A start leaves it as well, and who puts it right is told.
    site.host(&format!("cp -p {NGINX} /root/ours && sed -i 's/one on/by hand on/' {NGINX} && chmod 600 {NGINX}"));
    minute("an act of what others did", &|| drifted("") == 1);
    let act = site.wait_act("web", "drifted", "left as it is");
    println!("{act:#}");
    assert!(act["saw"].to_string().contains("content, mode 0600 instead of 0640"), "{act:#}");
    assert!(
        site.0.cp("hostlerctl service show web").contains("changed by others"),
        "{}",
        site.0.cp("hostlerctl service show web")
    );
    assert!(site.0.cp("hostlerctl why service/web").contains("left as it is"));
    site.0.cp("hostlerctl service restart web --yes");
    site.served("by hand on h1 for 127.0.0.1 with hunter22");
    site.host(&format!("cp -p /root/ours {NGINX}"));
    minute("that it was put right to be told", &|| site.acts("web", "repaired", "by\":\"somebody").len() == 1);
    assert_eq!((drifted(""), reloads()), (1, before));
    site.host("systemctl reload nginx");

    // drift: repair. Put back, and read once by the same process.
    site.0.cp("sed -i 's/    unit: nginx.service/&\\n    drift: repair/; s/    user: shop/    drift: repair\\n&/' /root/site/site.yaml");
    site.apply();
    let nginx = site.main_pid();
    site.host(&format!("sed -i 's/one on/by hand on/' {NGINX} && systemctl reload nginx"));
    site.served("by hand on h1 for 127.0.0.1 with hunter22");
    minute("it to be put back", &|| site.host(&format!("grep -c 'one on' {NGINX} || true")) == "1");
    site.served(served);
    site.wait_act("web", "repaired", "put back as the spec says");
    assert_eq!((reloads(), site.main_pid()), (before + 1, nginx.clone()));
    assert_eq!(site.host(&format!("stat -c '%U %a' {NGINX}")), "root 640");

    // A machine that writes its own once a second: three times, and then it is let be.
    site.host(&format!("nohup sh -c 'while sleep 1; do echo \"# $(date)\" >>{NGINX}; done' </dev/null >/dev/null 2>&1 & echo $! >/root/fight"));
    let fight = "others fight over it";
    wait_for("the fight to be given up", 5 * LOOKED, || {
        if drifted(fight) == 1 { Ok(()) } else { Err(site.host("hostler-agent why")) }
    });
    let put_back = site.acts("web", "repaired", "put back as the spec says").len();
    assert_eq!((put_back, reloads(), site.main_pid()), (3, before + 3, nginx));
    site.host("kill $(cat /root/fight)");
    site.host(&format!("cp -p /root/ours {NGINX}"));
    minute("the fight's end to be told", &|| site.acts("web", "repaired", "by\":\"somebody").len() == 2);
    assert_eq!(site.shop_pid(), shop, "whom nobody touched");
}
