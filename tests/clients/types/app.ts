// A program that uses the generated types as its writer would; the lines that must not compile say so to the compiler.

import { createClient } from '@supabase/supabase-js'
import { Constants, type Enums, type Tables, type TablesInsert, type TablesUpdate, type CompositeTypes, type Json, type Database } from './database.types.js'

const client = createClient<Database>('http://localhost', 'key')

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function is<_ extends true>() {}

is<Same<Tables<'profiles'>, { user_id: number; bio: string | null; nick: string | null }>>()
is<Same<Tables<{ schema: 'other' }, 'parts'>, { thing_id: number | null; rank: number }>>()
is<Same<Enums<'one_label'>, 'only'>>()
is<Same<Enums<{ schema: 'other' }, 'level'>, 'low' | 'high'>>()
is<Same<Tables<'kinds'>['moods'], Enums<'mood'>[] | null>>()
is<Same<Tables<'kinds'>['a_jsonb'], NonNullable<Json>>>()
is<Same<CompositeTypes<'address'>['level'], Enums<{ schema: 'other' }, 'level'> | null>>()
is<Same<(typeof Constants.other.Enums.level)[number], 'low' | 'high'>>()

const fresh: TablesInsert<'visits'> = { user_id: 1, seen: '2026-01-02' }
const change: TablesUpdate<'users'> = { name: 'x' }

export async function reads() {
  const { data } = await client.from('users').select('id, name, profiles(bio), manager').eq('name', 'x').single()
  if (data) {
    const id: number = data.id
    const name: string = data.name
    // One to one: an object, not a list.
    const bio: string | null | undefined = data.profiles?.bio
    // @ts-expect-error a number is no text
    const wrong: string = data.id
    return [id, name, bio, wrong]
  }
  const visits = await client.from('visits').select('id, places(size)')
  const size: number | undefined = visits.data?.[0]?.places?.size
  const view = await client.from('user_names').select('id, name')
  const viewed: string | null | undefined = view.data?.[0]?.name
  // @ts-expect-error there is no such column
  const missing: string = (await client.from('users').select('no_such_column').single()).data.no_such_column
  // @ts-expect-error there is no such table
  await client.from('no_such_table').select()
  return [size, viewed, missing]
}

export async function writes() {
  await client.from('visits').insert(fresh)
  await client.from('users').update(change).eq('id', 1)
  await client.from('kinds').update({ mood: 'very happy', a_jsonb: { a: [1, null] } })
  await client.from('written').insert({ id: 1, name: 'x' })
  // @ts-expect-error "seen" is missing
  await client.from('visits').insert({ user_id: 1 })
  // @ts-expect-error there is no such column
  await client.from('users').insert({ id: 1, name: 'x', nmae: 'y' })
  // @ts-expect-error no label of the enum
  await client.from('kinds').update({ mood: 'furious' })
  // @ts-expect-error an identity that is always generated
  await client.from('kinds').update({ id: 1 })
}

export async function calls() {
  const sum = await client.rpc('add_numbers', { a: 1 })
  const total: number | null = sum.data
  const rows = await client.rpc('rows_of_users')
  const first: string | undefined = rows.data?.[0]?.name
  const table = await client.rpc('as_table', { a: 1 })
  const quoted: Enums<'mood'> | undefined = table.data?.[0]?.Quoted
  // @ts-expect-error "a" is missing
  await client.rpc('add_numbers', { b: 1 })
  // @ts-expect-error a text is no number
  await client.rpc('add_numbers', { a: 'x' })
  // @ts-expect-error there is no such function
  await client.rpc('no_such_function')
  return [total, first, quoted]
}
