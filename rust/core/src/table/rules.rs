//! The receiver's own rules: who may send it what (OcnRules, `ocn-node.md` 2.9, as the manual means them).
use std::collections::HashMap;

use crate::ocpi::{Module, Party};

/// Which of the two lists is active; never both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RulesMode {
    #[default]
    None,
    Whitelist,
    Blacklist,
}

impl RulesMode {
    /// As in changes and in decision records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Whitelist => "whitelist",
            Self::Blacklist => "blacklist",
        }
    }
}

/// Rules of one platform: they protect all its parties.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The platform takes signed messages only, whatever the node asks for.
    pub signatures: bool,
    pub mode: RulesMode,
    /// Modules by sender: those allowed (whitelist) or refused (blacklist).
    pub entries: HashMap<Party, Box<[Module]>>,
}

/// A receiver's rules refuse the message (2000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleRefusal<'a> {
    #[error("Sender not whitelisted to request {} from receiver.", .0.as_str())]
    Module(&'a Module),
    #[error("Message receiver not in sender's whitelist.")]
    Sender,
}

impl Rules {
    /// Decides on one message. Both ids are folded by their types, so no spelling slips past
    /// (`safety.md` A70, A73).
    ///
    /// A whitelist lets pass the listed modules of listed senders. A blacklist refuses the listed modules of
    /// listed senders; an entry without modules refuses all.
    pub fn judge<'a>(&self, sender: Party, module: &'a Module) -> Result<(), RuleRefusal<'a>> {
        let listed = self.entries.get(&sender);
        match (self.mode, listed) {
            (RulesMode::None, _) | (RulesMode::Blacklist, None) => Ok(()),
            (RulesMode::Whitelist, None) => Err(RuleRefusal::Sender),
            (RulesMode::Whitelist, Some(modules)) if modules.contains(module) => Ok(()),
            (RulesMode::Blacklist, Some(modules))
                if !modules.is_empty() && !modules.contains(module) =>
            {
                Ok(())
            }
            (RulesMode::Whitelist | RulesMode::Blacklist, Some(_)) => {
                Err(RuleRefusal::Module(module))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(id: &str) -> Party {
        Party::new("DE", id).expect("an id of ours")
    }

    fn rules(mode: RulesMode, modules: &[&str]) -> Rules {
        let modules = modules.iter().map(|id| Module::from_id(id)).collect();
        Rules {
            signatures: false,
            mode,
            entries: HashMap::from([(party("MSP"), modules)]),
        }
    }

    #[test]
    fn test_a73_every_row_of_the_rules() {
        use RulesMode::{Blacklist, None as Off, Whitelist};
        let unlisted = "Message receiver not in sender's whitelist.";
        let commands = "Sender not whitelisted to request commands from receiver.";
        let custom = "Sender not whitelisted to request nltnm-tokens from receiver.";
        for (mode, modules, sender, module, refusal) in [
            (Off, &["commands"][..], "MSP", "commands", None),
            (Off, &[], "CPO", "commands", None),
            (Whitelist, &["commands"], "CPO", "commands", Some(unlisted)),
            (Whitelist, &["commands"], "MSP", "commands", None),
            (Whitelist, &["COMMANDS"], "msp", "Commands", None),
            (Whitelist, &["cdrs"], "MSP", "commands", Some(commands)),
            (Whitelist, &[], "MSP", "commands", Some(commands)),
            (Blacklist, &["commands"], "CPO", "commands", None),
            (Blacklist, &["commands"], "MSP", "commands", Some(commands)),
            (Blacklist, &["commands"], "msp", "CommandS", Some(commands)),
            (Blacklist, &["cdrs"], "MSP", "commands", None),
            (Blacklist, &[], "MSP", "commands", Some(commands)),
            (
                Blacklist,
                &["NLTNM-tokens"],
                "mSp",
                "nltnm-TOKENS",
                Some(custom),
            ),
            (Whitelist, &["NLTNM-tokens"], "MSP", "nltnm-TOKENS", None),
        ] {
            let module = Module::from_id(module);
            let verdict = rules(mode, modules).judge(party(sender), &module).err();
            let text = verdict.map(|refusal| refusal.to_string());
            assert_eq!(
                text.as_deref(),
                refusal,
                "{mode:?} {modules:?} {sender} {module:?}"
            );
        }
    }
}
