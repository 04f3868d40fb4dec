#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "edge/access/network.h"

static bool holds(const network_t *v, size_t n, const char *address)
{
    network_address_t a;
    cr_assert_eq(network_address(span_str(address), &a), ERR_OK, "%s", address);
    return network_holds(v, n, &a);
}

Test(network, addresses)
{
    static const char *const bad[] = {"",         "1.2.3",     "1.2.3.4.5", "01.2.3.4",  "256.1.1.1",  "1.2.3.4 ",
                                      "::g",      "fe80::1%1", "[::1]",     "localhost", "1.2.3.4:80", "2001:db8::1::2",
                                      "0x1.2.3.4"};
    network_address_t a, b;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_eq(network_address(span_str(bad[i]), &a), ERR_SYNTAX, "%s", bad[i]);
    cr_expect_eq(network_address(span_of("1.2.3.4\0", 8), &a), ERR_SYNTAX);
    cr_assert_eq(network_address(SPAN("192.0.2.7"), &a), ERR_OK);
    cr_assert_eq(network_address(SPAN("::ffff:192.0.2.7"), &b), ERR_OK);
    cr_expect_eq(memcmp(&a, &b, sizeof a), 0, "one address, however it is written");
}

Test(network, networks)
{
    network_t n;
    static const struct {
        const char *text;
        err_t err;
        const char *in, *out;
    } rows[] = {{"192.0.2.0/24", ERR_OK, "192.0.2.255", "192.0.3.0"},
                {"192.0.2.7", ERR_OK, "192.0.2.7", "192.0.2.8"},
                {"0.0.0.0/0", ERR_OK, "255.255.255.255", "2001:db8::1"},
                {"192.0.2.128/25", ERR_OK, "192.0.2.128", "192.0.2.127"},
                {"::/0", ERR_OK, "192.0.2.1", NULL},
                {"2001:db8::/33", ERR_OK, "2001:db8:7fff::1", "2001:db8:8000::"},
                {"192.0.2.1/24", ERR_RANGE, NULL, NULL},
                {"192.0.2.0/33", ERR_RANGE, NULL, NULL},
                {"2001:db8::/129", ERR_RANGE, NULL, NULL},
                {"192.0.2.0/", ERR_SYNTAX, NULL, NULL},
                {"192.0.2.0/024", ERR_SYNTAX, NULL, NULL},
                {"192.0.2.0/2x", ERR_SYNTAX, NULL, NULL},
                {"192.0.2.0/-1", ERR_SYNTAX, NULL, NULL},
                {"/8", ERR_SYNTAX, NULL, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_expect_eq(network_parse(span_str(rows[i].text), &n), rows[i].err, "%s", rows[i].text);
        cr_expect(rows[i].in == NULL || holds(&n, 1, rows[i].in), "%s in %s", rows[i].in, rows[i].text);
        cr_expect(rows[i].out == NULL || !holds(&n, 1, rows[i].out), "%s not in %s", rows[i].out, rows[i].text);
    }
}

Test(network, a_list_is_a_set)
{
    static const char *const texts[] = {"198.51.100.0/24", "10.0.0.0/8", "10.1.0.0/16", "198.51.101.0/24",
                                        "2001:db8::/32",   "192.0.2.7",  "10.0.0.0/8"};
    enum { N = sizeof texts / sizeof *texts };
    network_t v[N];
    for (size_t i = 0; i < N; i++)
        cr_assert_eq(network_parse(span_str(texts[i]), &v[i]), ERR_OK);
    size_t n = network_sort(v, N);
    cr_expect_eq(n, 4, "%zu: what overlaps and what touches is one", n);
    cr_expect(holds(v, n, "10.255.255.255") && holds(v, n, "10.1.2.3") && holds(v, n, "198.51.100.255"));
    cr_expect(holds(v, n, "198.51.101.0") && holds(v, n, "192.0.2.7") && holds(v, n, "2001:db8:ffff::"));
    cr_expect(!holds(v, n, "9.255.255.255") && !holds(v, n, "11.0.0.0") && !holds(v, n, "198.51.102.0"));
    cr_expect(!holds(v, n, "192.0.2.6") && !holds(v, n, "2001:db9::") && !holds(v, n, "0.0.0.0"));
    network_address_t any;
    cr_assert_eq(network_address(SPAN("10.0.0.1"), &any), ERR_OK);
    cr_expect(!network_holds(NULL, 0, &any));
    cr_expect_eq(network_sort(NULL, 0), 0);
    network_t all[2];
    cr_assert_eq(network_parse(SPAN("::/0"), &all[0]), ERR_OK);
    cr_assert_eq(network_parse(SPAN("ffff::/16"), &all[1]), ERR_OK);
    cr_expect_eq(network_sort(all, 2), 1, "behind the last address nothing begins");
}

/* The same answer as asking each network by itself, over addresses around every border. */
Test(network, agrees_with_the_plain_way)
{
    network_t v[64], sorted[64];
    unsigned random = 12345;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 64; i++) {
            char text[32];
            random = random * 1103515245 + 12345;
            unsigned prefix = 20 + (random >> 16) % 13, base = 0xc0000000u | (random >> 8 & 0xffff);
            base &= ~0u << (32 - prefix);
            snprintf(text, sizeof text, "%u.%u.%u.%u/%u", base >> 24, base >> 16 & 255, base >> 8 & 255, base & 255,
                     prefix);
            cr_assert_eq(network_parse(span_str(text), &v[i]), ERR_OK, "%s", text);
            sorted[i] = v[i];
        }
        size_t n = network_sort(sorted, 64);
        for (int i = 0; i < 64; i++)
            for (int border = 0; border < 2; border++)
                for (int step = -1; step <= 1; step++) {
                    network_address_t a = border ? v[i].last : v[i].first;
                    unsigned at = (unsigned)a.bytes[13] << 16 | (unsigned)a.bytes[14] << 8 | a.bytes[15];
                    at += (unsigned)step;
                    a.bytes[13] = (unsigned char)(at >> 16), a.bytes[14] = (unsigned char)(at >> 8),
                    a.bytes[15] = (unsigned char)at;
                    bool plain = false;
                    for (int j = 0; j < 64; j++)
                        plain |= memcmp(&v[j].first, &a, 16) <= 0 && memcmp(&a, &v[j].last, 16) <= 0;
                    cr_assert_eq(network_holds(sorted, n, &a), plain);
                }
    }
}

Test(network, an_ipv6_subscriber_is_one_client)
{
    network_address_t a, b, c;
    network_address(SPAN("2001:db8:1:2::1"), &a);
    network_address(SPAN("2001:db8:1:2:ffff::9"), &b);
    network_address(SPAN("2001:db8:1:3::1"), &c);
    a = network_client(&a), b = network_client(&b), c = network_client(&c);
    cr_expect_eq(memcmp(&a, &b, sizeof a), 0);
    cr_expect_neq(memcmp(&a, &c, sizeof a), 0);
    network_address(SPAN("192.0.2.7"), &a);
    network_address(SPAN("192.0.2.8"), &b);
    a = network_client(&a), b = network_client(&b);
    cr_expect_neq(memcmp(&a, &b, sizeof a), 0);
}
