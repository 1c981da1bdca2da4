//! Messages of the sizes that matter; no two numbers give the same bytes.

/// A session of about 1.2 kB, as parties push them all day.
pub(crate) fn session(number: u32) -> String {
    let periods: Vec<String> = (30..35)
        .map(|minute| {
            format!(
                r#"{{"start_date_time":"2026-03-01T08:{minute}:00Z","dimensions":[{{"type":"ENERGY","volume":{minute}.{number}}},{{"type":"CURRENT","volume":31.5}}]}}"#
            )
        })
        .collect();
    format!(
        r#"{{"country_code":"DE","party_id":"CPO","id":"S{number}","start_date_time":"2026-03-01T08:30:00Z","kwh":12.{number},"cdr_token":{{"country_code":"DE","party_id":"MSP","uid":"04E7A1B2C3D480","type":"RFID","contract_id":"DE-MSP-C00012345-7"}},"auth_method":"COMMAND","location_id":"LOC-0815","evse_uid":"EVSE-0815-1","connector_id":"1","currency":"EUR","charging_periods":[{}],"total_cost":{{"excl_vat":4.75,"incl_vat":5.65}},"status":"ACTIVE","last_updated":"2026-03-01T08:30:00Z"}}"#,
        periods.join(",")
    )
}

/// A location with so many charge points, of about 550 bytes each.
pub(crate) fn location(number: u32, evses: u32) -> String {
    let evses: Vec<String> = (0..evses)
        .map(|place| {
            format!(
                r#"{{"uid":"LOC-{number}-{place}","evse_id":"DE*CPO*E{number}*{place}","status":"AVAILABLE","capabilities":["RFID_READER","REMOTE_START_STOP_CAPABLE","RESERVABLE"],"connectors":[{{"id":"1","standard":"IEC_62196_T2","format":"SOCKET","power_type":"AC_3_PHASE","max_voltage":230,"max_amperage":32,"max_electric_power":22080,"tariff_ids":["TARIFF-11"],"last_updated":"2026-03-01T08:30:00Z"}}],"floor_level":"2","physical_reference":"{place}","coordinates":{{"latitude":"52.52{place:04}","longitude":"13.4050"}},"last_updated":"2026-03-01T08:30:00Z"}}"#
            )
        })
        .collect();
    format!(
        r#"{{"country_code":"DE","party_id":"CPO","id":"LOC-{number}","publish":true,"name":"Parkhaus am Markt","address":"Marktplatz 1","city":"Musterstadt","postal_code":"12345","country":"DEU","coordinates":{{"latitude":"52.5200","longitude":"13.4050"}},"evses":[{}],"directions":[{{"language":"de","text":"Einfahrt an der R\u00fcckseite"}}],"time_zone":"Europe/Berlin","last_updated":"2026-03-01T08:30:00Z"}}"#,
        evses.join(",")
    )
}

/// A START_SESSION, of which the node rewrites `response_url`.
pub(crate) fn start_session(number: u32) -> String {
    format!(
        r#"{{"response_url":"https://msp.example/ocpi/2.2.1/commands/START_SESSION/{number}","token":{{"country_code":"DE","party_id":"MSP","uid":"04E7A1B2C3D480","type":"RFID","contract_id":"DE-MSP-C00012345-7","visual_number":"0001-2345-7","issuer":"Example Mobility","valid":true,"whitelist":"ALLOWED_OFFLINE","language":"de","last_updated":"2026-03-01T08:30:00Z"}},"location_id":"LOC-0815","evse_uid":"EVSE-0815-1","connector_id":"1"}}"#
    )
}

/// What a receiver answers; `data` is JSON.
pub(crate) fn envelope(data: &str) -> String {
    format!(
        r#"{{"data":{data},"status_code":1000,"status_message":"Success","timestamp":"2026-03-01T08:30:00Z"}}"#
    )
}
