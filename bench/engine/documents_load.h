/* Who edits, and what the three wire protocols tell of it. */

#ifndef DOCUMENTS_LOAD_H
#define DOCUMENTS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "websocket_client.h"

enum { IN_FLIGHT = 256, MAX_CLIENTS = 20, EPOCH_SIZE = 128 };

/* One typed character on its way to the other clients of its document. */
typedef struct {
    double sent_at;
    long missing; /* how many clients have not seen it yet */
} Flight;

typedef struct Client {
    Socket socket;
    int index, document, number; /* number: within the document */
    char letter;                 /* what this one types */
    char epoch[EPOCH_SIZE];      /* Stretto's name of the document's history */
    long version;                /* what this client has seen; not with Hocuspocus */
    long caret;                  /* where its next character goes, in the text at version */
    long typed, accepted;        /* characters sent, and those acknowledged */
    long seq_before;             /* seqs that were used up before the first typed character */
    bool awaits_ack, awaits_entry;
    double sent_at;
    long seen[MAX_CLIENTS]; /* characters of each author that came here */
    Flight flights[IN_FLIGHT];
} Client;

typedef struct {
    const char *name;
    int opcode;
    const char *path;
    bool sends_own_entry; /* the next character waits for the own one to come back */
    /* Join, open the document; the first client of one writes its text. Waits. */
    void (*join)(Client *client, const char *token, const char *text);
    /* Write the message that inserts client->letter at client->caret; return its size. */
    int (*write_insert)(Client *client, char *message);
    /* Take one message: call saw and acknowledged for what it tells. */
    void (*take)(Client *client, Message message);
} Protocol;

extern const Protocol STRETTO, SHAREDB, HOCUSPOCUS;

/* The client has seen the nth character that the client of that number typed. */
void saw(Client *client, int author, long nth);

/* A client was told what it had seen already. */
void saw_again(void);

/* The server has accepted the client's character in flight. */
void acknowledged(Client *client);

#endif
