/* May the body of a response be given a content coding on its way to the client (RFC 9110 7.7, 8.4)? What the head says
 * about it; the length, which may be unknown, and the request are asked elsewhere. Pure. */
#ifndef BRINK_POLICY_CODABLE_H
#define BRINK_POLICY_CODABLE_H

#include "edge/http/fields.h"

typedef enum codable {
#define CODABLE(id, word, section, says) id,
#include "edge/policy/codable.def"
#undef CODABLE
} codable_t;

codable_t codable_decide(int status, const fields_t *response);
const char *codable_word(codable_t c);
const char *codable_section(codable_t c);
const char *codable_says(codable_t c);

#endif
