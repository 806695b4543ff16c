-- The ledger of commit a05ee7f, killed with two edits delivered and two running.
BEGIN TRANSACTION;
CREATE TABLE edits (
            edit_id TEXT NOT NULL UNIQUE,
            tenant TEXT NOT NULL,
            region TEXT NOT NULL,
            digest TEXT NOT NULL,
            prompt_digest TEXT NOT NULL,
            model TEXT NOT NULL,
            n INTEGER NOT NULL,
            response_format TEXT NOT NULL,
            output_format TEXT NOT NULL,
            created REAL NOT NULL,
            state TEXT NOT NULL,
            idempotency_key TEXT,
            ignored TEXT NOT NULL,
            delivered INTEGER NOT NULL,
            error_code TEXT,
            error_message TEXT,
            error_kind TEXT,
            error_retry INTEGER NOT NULL
        , adjusted TEXT NOT NULL DEFAULT '', compression INTEGER, scale_to TEXT, composite INTEGER NOT NULL DEFAULT 0);
INSERT INTO "edits" VALUES('edit_41201e07814edfd0c196c632e467c130','acme','beijing','b7e362ba6ee1104998e0160d60815ad959264ccc6757296398a017aa2ace397c','373e0712c83cffe15ff427b60e788b549f82496fe5fd5391f7921832b04c6b20','wan2.5-i2i-preview',1,'b64_json','png',1.79582083602398586276e+09,'succeeded',NULL,'',1,NULL,NULL,NULL,0,'["1:metadata_removed"]',NULL,NULL,0);
INSERT INTO "edits" VALUES('edit_d76fac83c7039398c58d274f65c6a2c8','acme','beijing','510b2ef161b88e52497fc06175f4eb0a6b8d22c67f8759b6a4097fd8b9c666e2','851137d9a3490f1a75abb13c08681c81875f563f75afe0f09b08c38b120fd3da','wan2.5-i2i-preview',1,'b64_json','png',1.79582083903939676277e+09,'succeeded','key-delivered','',1,NULL,NULL,NULL,0,'["1:metadata_removed"]',NULL,NULL,0);
INSERT INTO "edits" VALUES('edit_bbe9dcdde9eb77c16b8517bb22a41fe3','acme','beijing','f63437fb2fb52ce0d9241a90b98e96a01c130f2648f62a872a4cfacbb1d10c76','c071cf5f5ed6f884cc70155b6f05f755fd46a302d05e4261b7e92ce878bbfed8','wan2.5-i2i-preview',1,'b64_json','png',1.79582084127809906001e+09,'open',NULL,'',0,NULL,NULL,NULL,0,'["1:metadata_removed"]',NULL,NULL,0);
INSERT INTO "edits" VALUES('edit_19a81d51f4c08d8bb74e08f04bf6465b','acme','beijing','e49700f3406ff6617ee08333095fde6c0134d1c03efe1e8891cc4678cd83c0d4','11c049d58a1742bbac478da2dde3824a35cc0c3ceab32062df83e903bd3af772','wan2.5-i2i-preview',1,'b64_json','png',1.79582084130680108072e+09,'open','key-running','',0,NULL,NULL,NULL,0,'["1:metadata_removed"]',NULL,NULL,0);
CREATE TABLE tasks (
            edit_id TEXT NOT NULL,
            part INTEGER NOT NULL,
            n INTEGER NOT NULL,
            upstream TEXT NOT NULL,
            account TEXT NOT NULL,
            state TEXT NOT NULL,
            intended_at REAL NOT NULL,
            seed INTEGER,
            task_id TEXT,
            outcome TEXT,
            PRIMARY KEY (edit_id, part)
        ) WITHOUT ROWID
        ;
INSERT INTO "tasks" VALUES('edit_19a81d51f4c08d8bb74e08f04bf6465b',0,1,'main','main','accepted',1.79582084130810213087e+09,NULL,'6611d311-7d12-4e82-8a8c-e589de3f09d4',NULL);
INSERT INTO "tasks" VALUES('edit_41201e07814edfd0c196c632e467c130',0,1,'main','main','ended',1.795820836750797987e+09,NULL,'208ae2aa-2a95-4686-b22a-31c77e9e78ba','succeeded');
INSERT INTO "tasks" VALUES('edit_bbe9dcdde9eb77c16b8517bb22a41fe3',0,1,'main','main','accepted',1795820841.28712,NULL,'d3743675-06f5-4878-aaff-e7918273d674',NULL);
INSERT INTO "tasks" VALUES('edit_d76fac83c7039398c58d274f65c6a2c8',0,1,'main','main','ended',1.79582083904048466684e+09,NULL,'d1c262db-a07c-41c2-ad58-5558eb490dac','succeeded');
CREATE INDEX edits_by_age ON edits (created, state);
CREATE INDEX edits_by_key ON edits (tenant, idempotency_key)
        WHERE idempotency_key IS NOT NULL
        ;
CREATE INDEX edits_owed ON edits (created)
        WHERE state = 'open' OR (state = 'succeeded' AND delivered = 0)
        ;
CREATE INDEX tasks_by_id ON tasks (task_id) WHERE task_id IS NOT NULL;
COMMIT;
PRAGMA user_version = 2;
PRAGMA application_id = 2002873959;
