/* Errors are negative enum values: bad input and exhausted ceilings are answers, never asserts. */
#ifndef BRINK_BASE_ERR_H
#define BRINK_BASE_ERR_H

typedef enum err {
    ERR_OK = 0,
    ERR_SYNTAX = -1,  /* the input is not of the grammar */
    ERR_RANGE = -2,   /* of the grammar, but outside what is allowed */
    ERR_TOO_BIG = -3, /* over a named ceiling */
    ERR_NO_MEMORY = -4,
    ERR_NOT_FOUND = -5,
    ERR_EXISTS = -6,
    ERR_IO = -7,     /* the operating system said no; errno tells */
    ERR_CLOSED = -8, /* the other side went away, or the thing is shutting down */
    ERR_TIMEOUT = -9,
    ERR_REFUSED = -10,  /* a rule forbids it */
    ERR_AGAIN = -11,    /* not now; somebody will say when */
    ERR_CORRUPT = -12,  /* stored bytes that are not what was written */
    ERR_MALFORMED = -13 /* a peer broke its protocol */
} err_t;

/* A short lower-case phrase for logs; lives for ever. */
const char *err_text(err_t e);

#endif
