// Prints the types of a database as Supabase's own generator writes them: node generate.mjs <connection string> <schema,schema>
// The steps are those of postgres-meta's /generators/typescript with detect_one_to_one_relationships.

import { generateTypescript, introspect, sortGeneratorMetadata } from '@supabase/postgrest-typegen'
import pg from 'pg'

const [, , connectionString, schemas] = process.argv
const pool = new pg.Pool({ connectionString, max: 1 })
try {
  const found = await introspect(pool, { includedSchemas: schemas.split(',') })
  process.stdout.write(await generateTypescript(sortGeneratorMetadata(found), { detectOneToOneRelationships: true }))
} finally {
  await pool.end()
}
